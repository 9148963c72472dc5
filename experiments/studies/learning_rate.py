"""How large a learning rate does a net bear?

Takes 2 minutes on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.learning_rate --steps 500 --out results/try

A net 784-100-100-100-10 of ReLUs with He's initial values is trained on MNIST for 1,500 steps of plain SGD, with and
without batch norm. A rate is usable if every seed is right on at least 90 % of the test images afterwards. The rates
are powers of 2 first, then steps of 15 % between the largest usable one and the next.

Claimed by Bjorck et al., "Understanding Batch Normalization", arXiv 1806.02375, abstract: above all, batch norm lets a
net be trained with larger rates. Expected: a largest rate at least 4 times as large with batch norm; pilots saw 4 for
0.7 and for 0.57. The ratio is this net's, not a constant: with initial values of N(0, 0.05) and 1,000 steps, also
shown, pilots saw 3 and 4. Writes `summary.md`, `summary.json` and `learning_rate.png`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from flax.linen import initializers
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.data import load_kept
from experiments.harness.tables import Table
from experiments.tutorial import classifier, nets, runs
from experiments.tutorial.experiment import Experiment
from jaxbn.linen import BatchNorm

STUDY = study.Study(
    "learning_rate",
    "The largest usable learning rate of a net of three hidden layers is at least 4 times as large with batch norm",
    "Bjorck et al. 2018, arXiv 1806.02375, abstract; the number from a pilot",
    2,
)
KINDS = {"without batch norm": None, "with batch norm": functools.partial(BatchNorm, momentum=0.9)}
LAYERS = 3
COARSE = tuple(2.0**k for k in range(-3, 5))
# Rates between two powers of 2: steps of 2**(1/5), which are 15 %.
BETWEEN = 4
USABLE = 0.9
# The ratio of the largest usable rates.
PREDICTED = 4
# With other initial values: what their standard deviation is, and how many of the steps are made.
OTHER_SPREAD, OTHER_SHARE = 0.05, 2 / 3

# Test accuracies `[seeds]` by rate.
Sweep = dict[float, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    steps: int = 1_500
    """Training steps of every net."""
    seeds: int = 5
    out: Path = Path("results/studies/learning_rate")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train and report."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()
    data = classifier.on_device(*runs.all_examples(load_kept(cfg.data_dir, report=console.print)))
    fewer, name = max(1, round(OTHER_SHARE * cfg.steps)), f"N(0, {OTHER_SPREAD})"
    he = sweeps(Experiment(cfg.all_seeds(), cfg.steps, data, console), "He", {})
    other = sweeps(
        Experiment(cfg.all_seeds(), fewer, data, console), name, {"kernel_init": initializers.normal(OTHER_SPREAD)}
    )
    tables = [
        table(f"Test accuracy by learning rate, He's initial values, {cfg.steps:,} steps", he),
        table(f"Test accuracy by learning rate, initial values of {name}, {fewer:,} steps", other),
    ]
    notes = [
        f"Accuracy on all test images, mean of {cfg.seeds} seeds, lowest to highest.",
        f"Largest usable rates: {told(he)}. With initial values of {name} and {fewer:,} steps: {told(other)}.",
    ]
    measured = {"He": as_json(he), name: as_json(other)}
    study.report(STUDY, cfg, judge(he), draw(he), console, measured=measured, tables=tables, notes=notes)


def sweeps(experiment: Experiment, name: str, options: dict[str, Any]) -> dict[str, Sweep]:
    """For each kind of net, what all rates give that are tried."""
    found = {}
    for kind, norm in KINDS.items():
        model = nets.Deep(LAYERS, norm, **options)
        found[kind] = sweep(experiment, model, f"{name}, {kind}")
        experiment.console.print(f"{name}, {kind}: usable up to {largest_usable(found[kind]):.3g}")
    return found


def sweep(experiment: Experiment, model: nets.Deep, name: str) -> Sweep:
    """What the powers of 2 give, and then the rates between those at the edge."""
    score = experiment.scorer(model)

    def at(rates: tuple[float, ...]) -> Sweep:
        accuracies = score(experiment.train_at_rates(model, name, rates)) / 100
        return dict(zip(rates, accuracies.reshape(len(rates), -1), strict=True))

    found = at(COARSE)
    edge = largest_usable(found)
    if COARSE[0] <= edge < COARSE[-1]:
        found |= at(tuple(edge * 2 ** (k / (BETWEEN + 1)) for k in range(1, BETWEEN + 1)))
    return found


def largest_usable(found: Sweep) -> float:
    """The largest rate that is usable; NaN if none is."""
    return max((rate for rate, accuracies in found.items() if accuracies.min() >= USABLE), default=float("nan"))


def judge(found: dict[str, Sweep]) -> list[study.Verdict]:
    """What was predicted beside what was measured."""
    without, with_norm = map(largest_usable, found.values())
    return [study.at_least("largest usable rate, with batch norm / without", with_norm / without, PREDICTED)]


def told(found: dict[str, Sweep]) -> str:
    """The largest usable rates and their ratio, in words."""
    without, with_norm = map(largest_usable, found.values())
    return f"{without:.3g} without batch norm, {with_norm:.3g} with it, a ratio of {with_norm / without:.2f}"


def as_json(found: dict[str, Sweep]) -> dict[str, dict[str, np.ndarray]]:
    """With rates as text."""
    return {kind: {f"{rate:.4g}": of_kind[rate] for rate in sorted(of_kind)} for kind, of_kind in found.items()}


def table(title: str, found: dict[str, Sweep]) -> Table:
    """A row for each rate."""

    def cell(accuracies: np.ndarray | None) -> str:
        if accuracies is None:
            return ""
        return f"{accuracies.mean():.4f}, {accuracies.min():.4f} to {accuracies.max():.4f}"

    rates = sorted({rate for of_kind in found.values() for rate in of_kind})
    return Table(title, ["rate", *found], [[f"{r:.3g}", *(cell(f.get(r)) for f in found.values())] for r in rates])


def draw(found: dict[str, Sweep]) -> Any:
    """Accuracy against rate, with what is usable."""
    figure, (ax,) = plotting.new_figure(1)
    for (kind, of_kind), colour in zip(found.items(), plotting.COLOURS[1::-1], strict=False):
        rates = sorted(of_kind)
        edge = largest_usable(of_kind)
        label = f"{kind}: up to {edge:.2g}"
        plotting.band(ax, rates, [of_kind[r] for r in rates], label=label, colour=colour)
        ax.axvline(edge, color=colour, linestyle="--")
    edge = largest_usable(found["without batch norm"])
    label = f"predicted: beyond {PREDICTED} times {edge:.2g}"
    ax.axvline(PREDICTED * edge, color="black", linestyle="-.", label=label)
    ax.axhline(USABLE, color="black", linestyle=":", label="usable: every seed at least 0.9")
    ax.set(
        title=f"With batch norm {LAYERS} hidden layers bear larger learning rates", xscale="log", xlabel="learning rate"
    )
    ax.set(ylabel="test accuracy, mean and range of seeds", ylim=(0, 1.02))
    plotting.plain_numbers(ax.xaxis)
    plotting.legend_below(figure, ax)
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
