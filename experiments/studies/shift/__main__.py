"""Does recalibration undo a shift of the images?

Takes 1 minute on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.shift --seeds 1 --out results/try

A dense net with batch norm, 784-100-100-10, and the tutorial's convolutional one are trained on clean images of MNIST
and tested on corrupted ones: with their running statistics, and recalibrated by `jaxbn.inference.recalibrate` on 2,000
validation images without labels that are corrupted in the same way.

Claimed by Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", arXiv
2006.16971, abstract: statistics of corrupted images make a net robust against them. Expected, in points of test
accuracy: noise, contrast, brightness and blur, which befall all pixels alike, are made up for, a gain of at least 10 in
the mean (pilots saw 24 to 26); rotation and translation are not, a gain within 3 for the convolutional net (1). An
affine change of the pixels is undone to 0.1 by a net whose first layer is dense. It takes images of all classes: on 128
images of one class, the dense net loses at least 50 on that class (80). There is no telling what a single corruption
costs: nets differ by tens of points.

Writes `summary.md`, `summary.json` and `shift.png`.
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
from experiments.studies.shift import measure
from experiments.studies.shift.measure import (
    CORRUPTIONS,
    GEOMETRIC,
    OFFSET,
    ONE_CLASS,
    PHOTOMETRIC,
    RECALIBRATION,
    SLOPE,
    Found,
)
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment

STUDY = study.Study(
    "shift",
    "Recalibration regains what changes of light and focus cost, and not what motion costs",
    "Schneider et al. 2020, arXiv 2006.16971, abstract; the numbers from a pilot",
    1,
)
# The predictions, in points: for photometric corruptions, and for geometric ones either way.
LEAST, MOST = 10, 3


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    steps: int = 1_500
    """Training steps of every net."""
    seeds: int = 3
    out: Path = Path("results/studies/shift")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train, measure and report."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()
    images, labels = runs.all_examples(load_kept(cfg.data_dir, report=console.print))
    experiment = Experiment(cfg.all_seeds(), cfg.steps, classifier.on_device(images, labels), console)
    chosen = np.r_[:RECALIBRATION, runs.VALIDATION + runs.TRAINING : len(images)]
    clean = classifier.on_device(images[chosen].astype(np.float32) / 255, labels[chosen])
    trained = {name: measure.Trained(experiment, name) for name in measure.NETS}
    found = measure.by_corruption(trained, clean, cfg.seed, console)
    one_class, affine = measure.of_one_class(trained["dense"], clean), measure.of_affine(trained, clean)
    notes = [
        f"Percent of all test images, {cfg.seeds} seeds; recalibrated: with statistics of {RECALIBRATION:,} images.",
        f"Pixels * {SLOPE} + {OFFSET}: beside clean images, recalibrated both. The convolutional net pads with zeros "
        "whatever becomes of the pixels.",
    ]
    measured = {"accuracy": found, "one class": one_class, "affine": affine}
    verdicts, tables = judge(found, one_class, affine), [table(found, affine)]
    examples = [measure.corrupted(clean, c, s[1], cfg.seed).images[RECALIBRATION] for c, s in CORRUPTIONS.items()]
    study.report(STUDY, cfg, verdicts, draw(found, examples), console, measured=measured, tables=tables, notes=notes)


def gain(found: Found, name: str, kinds: dict[Any, Any]) -> np.ndarray:
    """Points gained by a net, mean of these corruptions: `[seeds]`."""
    return np.mean([found[name][c.__name__][:, 1] - found[name][c.__name__][:, 0] for c in kinds], axis=(0, 1))


def judge(found: Found, one_class: np.ndarray, affine: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured."""
    photometric = np.mean([gain(found, name, PHOTOMETRIC) for name in found], axis=0)
    undone = np.abs(affine["dense"][2] - affine["dense"][0])
    return [
        study.at_least("gain, photometric, points", photometric, LEAST),
        study.between(
            "gain, geometric, convolutional net, points", gain(found, "convolutional", GEOMETRIC), -MOST, MOST
        ),
        study.at_most(f"gain, {ONE_CLASS} images of one class, dense net, points", one_class.mean(0), -50),
        study.at_most(f"pixels * {SLOPE} + {OFFSET}, dense net, points off", undone, 0.1, every=True),
    ]


def table(found: Found, affine: dict[str, np.ndarray]) -> Table:
    """A row for each corruption and severity."""
    measured = {
        f"{corruption.__name__} {severity:g}": [of_net[corruption.__name__][i] for of_net in found.values()]
        for corruption, severities in CORRUPTIONS.items()
        for i, severity in enumerate(severities)
    }
    measured[f"pixels * {SLOPE} + {OFFSET}"] = [of_net[1:] for of_net in affine.values()]
    rows = [[name, *(mean_and_spread([*v], 2) for of_net in nets for v in of_net)] for name, nets in measured.items()]
    header = ["", *(f"{name}, {statistics}" for name in found for statistics in ("running", "recalibrated"))]
    return Table("Test accuracy on corrupted images", header, rows)


def draw(found: Found, examples: list[Any]) -> Any:
    """Points gained, by corruption, under a digit that it befell."""
    figure, (ax,) = plotting.new_grid(1, 1, 6.4)
    first = len(PHOTOMETRIC) - 0.5
    for number, (name, of_net) in enumerate(found.items()):
        for column, accuracies in enumerate(of_net.values()):
            gains = accuracies[:, 1] - accuracies[:, 0]
            places = column + 0.3 * (number - 0.5) + np.array([-0.06, 0, 0.06])
            low, high = gains.mean(1) - gains.min(1), gains.max(1) - gains.mean(1)
            colour, label = plotting.COLOURS[number], None if column else f"{name} net"
            ax.errorbar(
                places,
                gains.mean(1),
                [low, high],
                fmt=plotting.MARKERS[colour],
                color=colour,
                label=label,
                markersize=4,
            )
    for column, image in enumerate(examples):
        inset = ax.inset_axes([column - 0.4, 1.03, 0.8, 0.13], transform=ax.get_xaxis_transform())
        inset.imshow(image, cmap="gray", vmin=0, vmax=1)
        inset.axis("off")
    ax.hlines(LEAST, -0.5, first, "black", ":", label=f"predicted: mean at least {LEAST}")
    last, label = len(CORRUPTIONS) - 0.5, f"predicted: within {MOST}"
    ax.fill_between([first, last], -MOST, MOST, color="black", alpha=0.15, label=label)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(CORRUPTIONS)), [c.__name__ for c in CORRUPTIONS])
    ax.set(
        ylabel="points of test accuracy gained by recalibration, three severities each",
        xlim=(-0.5, last),
    )
    figure.suptitle("Recalibration regains what light and focus cost, not what motion does")
    ax.legend(loc="upper right")
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
