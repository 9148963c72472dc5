"""The curves of the four runs, from their records; nothing is trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.harness import plotting
from experiments.harness.results import Record

# In the tutorial's order; other folders beside theirs are left alone.
MODELS = ("mlp-bn", "mlp", "conv-bn", "conv")
# What the tutorial printed every 1,000 steps for conv-bn: accuracy on one batch of 64 test images.
TUTORIAL_CONV_BN = {1_000: 0.578125, 2_000: 0.890625, 3_000: 0.984375, 4_000: 0.984375, 5_000: 0.984375}


def plot(out: Path, records: Mapping[str, Sequence[Record]]) -> None:
    """Draw `out/curves.png`: the test error of the models, and conv-bn with its two kinds of statistics."""
    figure, axes = plotting.new_figure(2 if "conv-bn" in records else 1)
    ax = axes[0]
    for (name, own), colour in zip(records.items(), plotting.COLOURS, strict=False):
        plotting.curve(ax, own, "test_acc", label=name, colour=colour, error=True)
    numbers = {len({record["seed"] for record in own}) for own in records.values()}
    fewest, most = min(numbers), max(numbers)
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    of_seeds = f", mean and range of {seeds} seeds" if most > 1 else ""
    ax.set(
        title=f"Error on all 10,000 test images{of_seeds}", xlabel="training step", ylabel="test error", yscale="log"
    )
    plotting.percent_axis(ax)
    ax.legend(frameon=False)
    if "conv-bn" in records:
        ax = axes[1]
        colour = plotting.COLOURS[list(records).index("conv-bn")]
        plotting.curve(ax, records["conv-bn"], "test_acc", label="running statistics (evaluation mode)", colour=colour)
        plotting.curve(
            ax,
            records["conv-bn"],
            "test_batch_stats_acc",
            label="statistics of each test batch",
            colour="black",
            linestyle="--",
        )
        last = max(record["step"] for record in records["conv-bn"])
        printed = {step: value for step, value in TUTORIAL_CONV_BN.items() if step <= last}
        ax.plot(
            list(printed), list(printed.values()), "x", color="#D55E00", label="printed by the tutorial (64 images)"
        )
        ax.set(title="conv-bn: running against batch statistics", xlabel="training step", ylabel="test accuracy")
        ax.legend(frameon=False, loc="lower right")
    plotting.save_figure(figure, out / "curves.png")
