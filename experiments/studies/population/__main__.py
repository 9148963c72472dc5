"""Population statistics for running ones: how many images do they take? `python -m experiments.studies.population`.

A dense net with batch norm, 784-100-100-10, and the tutorial's convolutional one are trained on MNIST, and evaluated
with statistics of other sources: running averages of several decays, `jaxbn.inference.recalibrate` on so many training
images, eight draws each, and on all of them; for training batches of 2 to 128 images; and for averaged weights.

Claimed by Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576, section 3: 1,000 samples are enough.
Predicted: the worst of eight draws of 1,000 is within 0.3 points of all 55,000, the mean of draws of 64 is not; the
convolutional net, whose every image is hundreds of samples, needs 64. Takes about 4 minutes on 2 cores. Writes
`summary.md`, `summary.json` and `population.png`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, results, study
from experiments.harness.data import load_kept
from experiments.harness.tables import Table, markdown, mean_and_spread
from experiments.studies.population import measure
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    steps: int = 1_500
    """Training steps of every net."""
    seeds: int = 3
    out: Path = Path("results/population")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, measure and report."""
    config.require_at_least("--steps", cfg.steps, measure.AVERAGED * measure.EVERY)
    cfg.check()
    data = classifier.on_device(*runs.all_examples(load_kept(cfg.data_dir, report=console.print)))
    experiment = Experiment(cfg.all_seeds(), cfg.steps, data, console)
    costs = measure.by_size(experiment)
    verdicts = judge(costs)
    steps, decays = measure.by_decay(experiment)
    batches, weights = measure.by_batch(experiment), measure.of_averaged_weights(experiment)
    tables = [
        verdicts,
        size_table(costs),
        accuracy_table("Test accuracy by decay of the running averages", "step", steps, decays),
        accuracy_table(
            "Test accuracy by size of the training batches", "images", [*map(str, measure.BATCHES)], batches
        ),
        Table(
            "Test accuracy of averaged weights",
            ["weights, statistics", "accuracy"],
            [[name, mean_and_spread(accuracies.tolist(), 2)] for name, accuracies in weights.items()],
        ),
    ]
    notes = [
        f"Percent of all test images, mean ± standard deviation of {cfg.seeds} seeds after {cfg.steps:,} steps.",
        f"Points lost beside the statistics of all {runs.TRAINING:,} training images, of {measure.DRAWS} draws a seed.",
        f"Averaged weights: the mean of {measure.AVERAGED} states, {measure.EVERY} steps apart.",
    ]
    measured = {"sizes": measure.SIZES, "seeds": cfg.all_seeds(), "cost": {k: v.tolist() for k, v in costs.items()}}
    results.write_summary(cfg.out, measured, markdown(tables, notes))
    draw(cfg, costs)
    for table in tables[:2]:
        table.show(notes[:2], console)
    results.name_files(cfg.out, ("summary.md", "summary.json", "population.png"), console)


def judge(costs: dict[str, np.ndarray]) -> Table:
    """What was predicted beside what was measured."""
    thousand, few = measure.SIZES.index(1_000), measure.SIZES.index(64)
    worst = costs["dense"][thousand].max()
    mean, images = costs["dense"][few].mean(), costs["convolutional"][few].mean()
    rows = [
        ("dense, 1,000 images, the worst draw", "at most 0.3", worst, worst <= 0.3),
        ("dense, 64 images, mean", "more than 0.3", mean, mean > 0.3),
        ("convolutional, 64 images, mean", "within 0.2", images, abs(images) <= 0.2),
    ]
    cells = [[what, predicted, f"{cost:.2f}", "holds" if holds else "FAILS"] for what, predicted, cost, holds in rows]
    return Table("Points lost beside the statistics of all images", ["", "predicted", "measured", "verdict"], cells)


def size_table(costs: dict[str, np.ndarray]) -> Table:
    """Mean and worst cost by number of images."""
    header = ["images", *(f"{name}, {which}" for name in costs for which in ("mean", "worst"))]
    rows = [
        [f"{size:,}", *(f"{value:.2f}" for cost in costs.values() for value in (cost[i].mean(), cost[i].max()))]
        for i, size in enumerate(measure.SIZES)
    ]
    return Table("Points lost, by number of images recalibrated on", header, rows)


def accuracy_table(title: str, first: str, rows: list[str], columns: dict[str, list[np.ndarray]]) -> Table:
    """Accuracies, `[seeds]` each."""
    cells = [
        [name, *(mean_and_spread(column[i].tolist(), 2) for column in columns.values())] for i, name in enumerate(rows)
    ]
    return Table(title, [first, *columns], cells)


def draw(cfg: Config, costs: dict[str, np.ndarray]) -> None:
    """Points lost against the number of images."""
    figure, (ax,) = plotting.new_figure(1)
    for (name, cost), colour in zip(costs.items(), plotting.COLOURS, strict=False):
        label = f"{name} net, mean and range of draws"
        plotting.band(ax, measure.SIZES, [*cost], label=label, colour=colour, marker="o")
    ax.axhline(0.3, color="black", linestyle=":", label="0.3 points")
    ax.set(title="What statistics of few images cost", xscale="log", xlabel="training images recalibrated on")
    ax.set(ylabel=f"points lost beside all {runs.TRAINING:,}", ylim=(-0.5, 3))
    ax.legend()
    plotting.save_figure(figure, cfg.out / "population.png")


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
