"""Population statistics for running ones: how many images do they take?

Takes 4 minutes on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.population --seeds 1 --out results/try

A dense net with batch norm, 784-100-100-10, and the tutorial's convolutional one are trained on MNIST, and evaluated
with statistics of other sources: running averages of several decays, `jaxbn.inference.recalibrate` on so many training
images, eight draws each, and on all of them; for training batches of 2 to 128 images; and for averaged weights.

Claimed by Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576, section 3: 1,000 samples are enough.
Predicted: the worst of eight draws of 1,000 is within 0.3 points of all 55,000, the mean of draws of 64 is not; the
convolutional net, whose every image is hundreds of samples, needs 64. Writes `summary.md`, `summary.json` and
`population.png`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.data import load_kept
from experiments.harness.tables import Table, mean_and_spread
from experiments.studies.population import measure
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment

STUDY = study.Study(
    "population",
    "Population statistics take about 1,000 images in a dense net, and a few dozen in a convolutional one",
    "Wu and Johnson, \"Rethinking 'Batch' in BatchNorm\", arXiv 2105.07576, section 3",
    4,
)


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    steps: int = 1_500
    """Training steps of every net."""
    seeds: int = 3
    out: Path = Path("results/studies/population")


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
    steps, decays = measure.by_decay(experiment)
    batches, weights = measure.by_batch(experiment), measure.of_averaged_weights(experiment)
    tables = [
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
    tables[0].show((), console)
    measured = {"sizes": measure.SIZES, "cost": costs}
    study.report(STUDY, cfg, judge(costs), draw(costs), console, measured=measured, tables=tables, notes=notes)


def judge(costs: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured, of points lost, `[sizes, seeds * draws]`."""
    thousand, few = measure.SIZES.index(1_000), measure.SIZES.index(64)
    # A column for each draw of a seed.
    dense, images = (costs[name].reshape(len(measure.SIZES), -1, measure.DRAWS) for name in measure.NETS)
    worst = f"dense net, 1,000 images: points lost by the worst of {measure.DRAWS} draws"
    return [
        study.at_most(worst, dense[thousand].max(-1), 0.3, every=True),
        study.above("dense net, 64 images: points lost", dense[few].mean(-1), 0.3),
        study.between("convolutional net, 64 images: points lost", images[few].mean(-1), -0.2, 0.2),
    ]


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


def draw(costs: dict[str, np.ndarray]) -> Any:
    """Points lost against the number of images."""
    figure, (ax,) = plotting.new_figure(1)
    for (name, cost), colour in zip(costs.items(), plotting.COLOURS, strict=False):
        label = f"{name} net, mean and range of draws"
        plotting.band(ax, measure.SIZES, [*cost], label=label, colour=colour)
    ax.axhline(0.3, color="black", linestyle=":", label="0.3 points")
    ax.set(
        title="Statistics of 1,000 images are as good as those of all",
        xscale="log",
        xlabel="training images recalibrated on",
    )
    ax.set(ylabel=f"points lost beside all {runs.TRAINING:,}", ylim=(-0.5, 3))
    ax.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
