"""What the four runs gave, beside what the tutorial printed: a table, a plot and a summary, from the checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.harness import paired, results
from experiments.harness.checkpoint import Measured
from experiments.harness.errors import UserError
from experiments.harness.results import Record
from experiments.harness.run_files import read_measured
from experiments.harness.tables import Table, markdown, mean_and_spread
from experiments.mnist.plot import plot

TITLE = "The tutorial's four runs"
# Printed by the tutorial, from one run each; it printed no test results of its dense nets.
PRINTED = {
    "mlp-bn": {"train_loss": 0.051219, "train_acc": 0.985345},
    "mlp": {"train_loss": 0.053095, "train_acc": 0.986073},
    "conv-bn": {"train_loss": 0.034995, "train_acc": 0.989473, "test_loss": 0.042106, "test_acc": 0.986800},
    "conv": {"train_loss": 0.038749, "train_acc": 0.987036, "test_loss": 0.047929, "test_acc": 0.984900},
}
PAIRS = (("mlp-bn", "mlp"), ("conv-bn", "conv"))
METRICS = {"train_loss": "train loss", "train_acc": "train acc", "test_loss": "test loss", "test_acc": "test acc"}


def report(out: Path, console: Console) -> None:
    """Write `summary.json`, `summary.md` and `curves.png` in `out`, and print the table.

    Args:
        out: the folder with one folder per model, of which all finished ones are reported on.
        console: to print on.
    """
    measured, damaged = read_all(out)
    records = {name: own.records for name, own in measured.items()}
    models = {name: summarize(own) for name, own in measured.items()}
    header = ["run", *METRICS.values(), "steps", "seconds"]
    table = Table(TITLE, header, [row(name, model) for name, model in models.items()])
    notes = [
        "In parentheses: the tutorial's own numbers, from one run each.",
        *([why_modes_differ(records["conv-bn"])] if "conv-bn" in records else []),
        *damaged,
        *results.note_left_out(records),
        *(compared(*pair, *(records[name] for name in pair)) for pair in PAIRS if set(pair) <= set(records)),
    ]
    results.write_summary(out, {"models": models}, markdown([table], notes))
    plot(out, records)

    table.show(notes, console)
    results.name_files(out, ("summary.md", "summary.json", "curves.png"), console)


def read_all(out: Path) -> tuple[dict[str, Measured], list[str]]:
    """What the finished models have measured, and a sentence on each that can't be believed."""
    measured, damaged = {}, []
    for name in PRINTED:
        try:
            own = read_measured(out / name)
        except UserError as error:
            damaged.append(f"{name} is left out. {error}")
            continue
        # A run that was stopped is no result.
        if own and own.records and set(METRICS) <= set(own.records[-1]):
            measured[name] = own
    return measured, damaged


def summarize(measured: Measured) -> dict[str, Any]:
    """The last evaluation, one value per seed, whose examples are each counted once."""
    last = [record for record in measured.records if record["step"] == measured.step]
    return {
        **{name: [record[name] for record in last] for name in METRICS},
        "steps": measured.step,
        "seconds": round(measured.seconds, 2),
    }


def row(name: str, model: dict[str, Any]) -> list[str]:
    """A line of the table, the tutorial's numbers in parentheses."""
    cells = []
    for metric in METRICS:
        printed = PRINTED[name].get(metric)
        cells.append(mean_and_spread(model[metric]) + (f" ({printed:.4f})" if printed is not None else ""))
    return [name, *cells, f"{model['steps']:,}", f"{model['seconds']:.1f}"]


def why_modes_differ(records: list[Record]) -> str:
    """One line on conv-bn's early evaluations, with the numbers of this run."""
    step = min(record["step"] for record in records)
    first = [record for record in records if record["step"] == step]
    running, batch = ([record[f"{mode}_acc"] for record in first] for mode in ("test", "test_batch_stats"))
    line = (
        f"conv-bn at step {step:,}: test accuracy {mean_and_spread(running, 3)} with the running statistics, "
        f"{mean_and_spread(batch, 3)} with those of the batches, because with decay 0.999 the running ones still hold "
        f"{0.999**step:.1%} of their initial 0 and 1."
    )
    at_1000 = [record["test_acc"] for record in records if record["step"] == 1_000]
    if at_1000:
        low, high = min(at_1000), max(at_1000)
        span = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
        place = "below" if low > 0.578125 else "not below"
        line += f" At step 1,000 the tutorial read 0.578 on 64 images, {place} what this run has on all 10,000: {span}."
    return line


def compared(name: str, plain_name: str, records: list[Record], plain: list[Record]) -> str:
    """One line on what batch norm changed, where both runs have the same seeds, hence the same batches."""
    normalised, plain_ones = (
        {(record["step"], record["seed"]): record for record in runs} for runs in (records, plain)
    )
    common = sorted(normalised.keys() & plain_ones.keys())
    parts = []
    for step in dict.fromkeys(step for step, _ in common[:1] + common[-1:]):
        pairs = [(normalised[key], plain_ones[key]) for key in common if key[0] == step]
        for metric, statistics in (("test_acc", "running"), ("test_batch_stats_acc", "batch")):
            points = paired.points([after[metric] for after, _ in pairs], [before["test_acc"] for _, before in pairs])
            parts.append(f"{points} at step {step:,} with {statistics} statistics")
    if not common:
        return f"{name} and {plain_name} have no evaluation of the same seed at the same step, and are not compared."
    seeds = f"paired over {len(pairs)} seeds, ± standard error" if len(pairs) > 1 else f"seed {common[-1][1]}"
    return f"{name} against {plain_name}, points of test accuracy ({seeds}): {', '.join(parts)}."
