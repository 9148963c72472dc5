"""Batch norm where batches are small, or not drawn at random.

Takes 3 minutes on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.small_batch --steps 500 --out results/try

A dense net, 784-100-100-10, is trained on MNIST with batches of 2 to 64 images, drawn at random, or each of one pair of
classes: 0 and 1, 2 and 3, and so on. It has batch norm, ghost groups in batches of 32, or renorm, whose limits widen to
3 and 5. It is evaluated with its running averages, and with statistics that `jaxbn.inference.recalibrate` takes from
4,000 training images drawn at random. The learning rate is 0.1 for a batch of 32, and in proportion to the batch.

Claimed by Ioffe, "Batch renormalization", NIPS 2017: with small batches and with batches that are not drawn at random,
batch norm is worse, and renorm makes good most of it. Predicted: what the verdicts say. Writes `summary.md`,
`summary.json` and `small_batch.png`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.data import load_kept
from experiments.harness.tables import Table, mean_and_spread
from experiments.studies.small_batch import measure
from experiments.studies.small_batch.measure import BATCH, GHOST, PLAIN, RANDOM, RENORM, TWO_CLASSES, Scores
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment

RECALIBRATED = "recalibrated"

STUDY = study.Study(
    "small_batch",
    "Small batches, and batches that are not drawn at random, cost batch norm accuracy, most of which renorm recovers",
    'Ioffe, "Batch renormalization", NIPS 2017',
    3,
)


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    steps: int = 1_500
    """Training steps of every net."""
    seeds: int = 5
    out: Path = Path("results/studies/small_batch")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, measure and report."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()
    data = classifier.on_device(*runs.all_examples(load_kept(cfg.data_dir, report=console.print)))
    experiment = Experiment(cfg.all_seeds(), cfg.steps, data, console)
    sizes = {drawing: measure.by_size(experiment, drawing) for drawing in (RANDOM, TWO_CLASSES)}
    drawings = {drawing: {norm: found[norm][BATCH] for norm in (PLAIN, RENORM)} for drawing, found in sizes.items()}
    drawings |= measure.by_drawing(experiment)
    renorms = measure.of_renorm(experiment)
    tables = [
        *(size_table(drawing, found) for drawing, found in sizes.items()),
        Table(
            f"Test accuracy by how batches of {BATCH} are drawn",
            ["batches", *columns((PLAIN, RENORM))],
            [[drawing, *cells(norms.values())] for drawing, norms in drawings.items()],
        ),
        Table(
            f"Test accuracy of renorm, batches of {BATCH} {TWO_CLASSES}",
            ["", "running averages", RECALIBRATED],
            [[name, *cells([found])] for name, found in renorms.items()],
        ),
    ]
    several = f"mean ± standard deviation of {cfg.seeds} seeds" if cfg.seeds > 1 else "one seed"
    notes = [
        f"Percent of all test images, {several} after {cfg.steps:,} steps at a rate of {runs.LEARNING_RATE} for "
        f"{BATCH} images.",
        f"Recalibrated: on {measure.MANY:,} training images drawn at random. Running averages of decay "
        f"{measure.MOMENTUM} where none is named.",
    ]
    for table in tables[:2]:
        table.show((), console)
    measured = {"scores": Scores._fields, "sizes": sizes, "drawings": drawings, "renorm": renorms}
    study.report(STUDY, cfg, judge(sizes), draw(sizes), console, measured=measured, tables=tables, notes=notes)


def judge(sizes: dict[str, dict[str, dict[int, Scores]]]) -> list[study.Verdict]:
    """What was predicted beside what was measured, of points of test accuracy."""
    random, pairs = (
        {norm: {size: of.running for size, of in by.items()} for norm, by in sizes[drawing].items()}
        for drawing in (RANDOM, TWO_CLASSES)
    )
    drop = random[PLAIN][BATCH] - pairs[PLAIN][BATCH]
    # Of the means, for a seed's own drop may be as small as its noise.
    lost, won = drop.mean(), (pairs[RENORM][BATCH] - pairs[PLAIN][BATCH]).mean()
    recovered = 100 * won / lost if lost > 0 else float("nan")
    gain = {size: random[RENORM][size] - random[PLAIN][size] for size in (2, 4, 16)}
    ghosts = random[GHOST][8] - random[GHOST][2]
    above = "points that renorm is above batch norm"
    return [
        study.at_least(f"two classes, {BATCH} images: points that batch norm loses", drop, 20),
        study.at_least(
            f"two classes, {BATCH} images: percent of them that renorm recovers, of the means", recovered, 75
        ),
        study.at_least(f"at random, 2 images: {above}", gain[2], 5),
        study.at_least(f"at random, 4 images: {above}", gain[4], 1),
        study.between(f"at random, 16 images: {above}", gain[16], -0.5, 0.5),
        study.at_least("at random: points that ghosts of 2 are below ghosts of 8", ghosts, 10),
    ]


def columns(norms: tuple[str, ...]) -> list[str]:
    """Two of each norm."""
    return [f"{norm}{statistics}" for norm in norms for statistics in ("", f", {RECALIBRATED}")]


def cells(found: Iterable[Scores]) -> list[str]:
    """Two of each norm's scores."""
    return [mean_and_spread(part.tolist(), 2) if len(part) else "" for of_norm in found for part in of_norm]


def size_table(drawing: str, found: dict[str, dict[int, Scores]]) -> Table:
    """Accuracies by size of the batches, or of the ghosts."""
    none = Scores(np.empty(0), np.empty(0))
    rows = [[f"{size}", *cells(of_norm.get(size, none) for of_norm in found.values())] for size in measure.SIZES]
    return Table(f"Test accuracy by size, batches {drawing}", [f"images, {drawing}", *columns((*found,))], rows)


def draw(sizes: dict[str, dict[str, dict[int, Scores]]]) -> Any:
    """Accuracy against size, a panel for each way to draw the batches."""
    figure, axes = plotting.new_figure(len(sizes))
    for ax, (drawing, found) in zip(axes, sizes.items(), strict=True):
        for (norm, by_size), colour in zip(found.items(), plotting.COLOURS, strict=False):
            plotting.band(ax, [*by_size], [of.running for of in by_size.values()], label=norm, colour=colour)
        recalibrated = [of.recalibrated for of in found[PLAIN].values()]
        label = f"{PLAIN}, {RECALIBRATED}"
        plotting.band(ax, [*found[PLAIN]], recalibrated, label=label, colour=plotting.COLOURS[3], linestyle="--")
        ax.set(title=f"Batches {drawing}", xscale="log", xlabel="images normalised together")
        ax.set_xticks(measure.SIZES, [f"{size}" for size in measure.SIZES])
        ax.minorticks_off()
        ax.set(ylabel="test accuracy, %", ylim=(40, 100))
        ax.legend(loc="lower right")
    figure.suptitle("Batch norm needs large batches, drawn at random; renorm needs them less")
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
