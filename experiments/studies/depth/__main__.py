"""Do deep nets train at once with batch norm?

Takes 3 minutes on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.depth --depths 2 32 --out results/try

Two measurements on MNIST, of dense nets of the tutorial's width, 100, with plain SGD. The verdicts are on ten hidden
layers whose kernels are all N(0, 0.05), for 800 steps at rate 0.1. A relu lets half of the squares through, so the
signal shrinks in each layer to `sqrt(100 * 0.05**2 / 2)`, 0.354 of it: of the images, 0.0001 is left. Expected: a test
accuracy of at most 0.15 without batch norm, where nothing arrives, and of at least 0.93 with it, of 3 seeds each.

The map beside it is of other nets: of 1 to 32 hidden layers, at learning rates from 0.003 to 3. Their kernels have He's
initial values, made for deep nets without batch norm, so that it shows what batch norm adds where the signal arrives. A
seed gives the same initial kernels and the same batches at every learning rate. Writes `summary.md`, `summary.json` and
`depth.png`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, paired, plotting, program, study
from experiments.harness.data import load_kept
from experiments.harness.errors import UserError
from experiments.harness.tables import Table, mean_and_spread
from experiments.studies.depth import measure
from experiments.studies.depth.measure import KINDS, WITH, WITHOUT
from experiments.tutorial import classifier, nets, runs
from experiments.tutorial.experiment import Experiment

STUDY = study.Study(
    "depth",
    "With batch norm a net of ten hidden layers trains at once from kernels N(0, 0.05), through which nothing arrives "
    "without it",
    "derived: a relu layer of width 100 hands on sqrt(100 * 0.05**2 / 2) = 0.354 of its input",
    3,
)


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of hidden layers."""
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Learning rates."""
    steps: int = 1_000
    """Training steps of every net."""
    seeds: int = 3
    out: Path = Path("results/studies/depth")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train and report."""
    check(cfg)
    data = classifier.on_device(*runs.all_examples(load_kept(cfg.data_dir, report=console.print)))
    reached, signals = measure_plain(Experiment(cfg.all_seeds(), measure.STEPS, data, console))
    experiment = Experiment(cfg.all_seeds(), cfg.steps, data, console)
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for depth in cfg.depths:
        for kind, norm in KINDS.items():
            model, name = nets.Deep(depth, norm), f"{depth} deep, {kind}"
            found[kind].append(measure.accuracies(experiment, model, name, cfg.rates))
            line = ", ".join(f"{acc:.3f}" for acc in found[kind][-1].mean(-1))
            console.print(f"{name}: {line}")
    report(cfg, reached, signals, {kind: np.stack(accuracies) for kind, accuracies in found.items()}, console)


def check(cfg: Config) -> None:
    """Refuse what can't be run, before any work."""
    if not cfg.depths or min(cfg.depths) < 1:
        raise UserError(f"`--depths` must be numbers from 1 on, got {[*cfg.depths]}.")
    if not cfg.rates or not all(0 < rate < float("inf") for rate in cfg.rates):
        raise UserError(f"`--rates` must be numbers above 0, got {[*cfg.rates]}.")
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()


def measure_plain(experiment: Experiment) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of both kinds of the nets of the verdicts, the accuracies `[seeds]` and the signal `[seeds, layers]`."""
    images = experiment.data.images[runs.VALIDATION : runs.VALIDATION + measure.IMAGES].astype(jnp.float32) / 255
    reached, signals = {}, {}
    for kind, norm in KINDS.items():
        model, name = measure.plain(norm), f"{measure.LAYERS} deep, N(0, {measure.SPREAD}), {kind}"
        (reached[kind],) = measure.accuracies(experiment, model, name, [measure.RATE])
        signals[kind] = np.stack([measure.signal(model, seed, images) for seed in experiment.seeds])
        experiment.console.print(f"{name}: {reached[kind].mean():.3f}")
    return reached, signals


def report(
    cfg: Config,
    reached: dict[str, np.ndarray],
    signals: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
    console: Console,
) -> None:
    """Write verdicts, tables and the figure, the map being of accuracies `[depths, rates, seeds]`."""
    header = ["hidden layers", *(f"{rate:g}" for rate in cfg.rates)]
    tables = [
        Table(
            f"Test accuracy {kind}, by learning rate",
            header,
            [
                [f"{depth}", *map(mean_and_spread, of_depth.tolist())]
                for depth, of_depth in zip(cfg.depths, found[kind], strict=True)
            ],
        )
        for kind in KINDS
    ]
    several = cfg.seeds > 1
    gains = (signals[WITHOUT][:, -1] / signals[WITHOUT][:, 0]) ** (1 / (measure.LAYERS - 1))
    notes = [
        f"The verdicts are on {measure.LAYERS} hidden layers from kernels N(0, {measure.SPREAD}), after "
        f"{measure.STEPS} steps of {runs.BATCH_SIZE} images at rate {measure.RATE:g}. Without batch norm a layer hands "
        f"on {mean_and_spread(gains.tolist(), 3)} of the signal, predicted {measure.GAIN:.3f}.",
        "The map is of other nets, which have He's initial values: their signal arrives also without batch norm. "
        f"Accuracy on all test images after {cfg.steps:,} steps, "
        f"{f'mean ± standard deviation of {cfg.seeds} seeds' if several else 'one seed'}; the difference in points"
        f"{', seed by seed, ± its standard error' if several else ''}.",
        "The best rate is chosen on the same test images, for both kinds alike.",
    ]
    best = best_rates(cfg, found)
    best.show((), console)
    study.report(
        STUDY,
        cfg,
        judge(reached),
        draw(cfg, found, signals),
        console,
        measured={"plain": {"test_acc": reached, "signal": signals}, "map": found},
        tables=[best, *tables],
        notes=notes,
    )


def judge(reached: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured, of accuracies `[seeds]`."""
    what = f"test accuracy of {measure.LAYERS} hidden layers from N(0, {measure.SPREAD})"
    return [
        study.at_most(f"{what}, {WITHOUT}", reached[WITHOUT], 0.15, every=True, digits=4),
        study.at_least(f"{what}, {WITH}", reached[WITH], 0.93, every=True, digits=4),
    ]


def best_rates(cfg: Config, found: dict[str, np.ndarray]) -> Table:
    """For every depth, what each kind reaches with its best learning rate."""
    rows = []
    for number, depth in enumerate(cfg.depths):
        cells, chosen = [], []
        for accuracies in found.values():
            best = accuracies[number].mean(-1).argmax()
            chosen.append(accuracies[number][best])
            cells += [mean_and_spread(chosen[-1].tolist()), f"{cfg.rates[best]:g}"]
        rows.append([f"{depth}", *cells, paired.points(chosen[1], chosen[0])])
    header = ["hidden layers", *(cell for kind in found for cell in (kind, "at rate")), "difference"]
    return Table("Test accuracy at the best learning rate of each", header, rows)


def draw(cfg: Config, found: dict[str, np.ndarray], signals: dict[str, np.ndarray]) -> Any:
    """What arrives in each layer of the plain nets, and a map for each kind of the others."""
    figure, (ax, *axes) = plotting.new_figure(1 + len(found))
    layers = [*range(1, measure.LAYERS + 1)]
    start = signals[WITHOUT][:, 0].mean()
    ax.plot(
        layers, start * measure.GAIN ** np.arange(measure.LAYERS), "k:", label=f"predicted, {measure.GAIN:.3f} a layer"
    )
    for (kind, of), colour in zip(signals.items(), plotting.COLOURS[1::-1], strict=False):
        plotting.band(ax, layers, [*of.T], label=kind, colour=colour)
    ax.set(title=f"Kernels N(0, {measure.SPREAD}): no signal without batch norm", xlabel="hidden layer", yscale="log")
    ax.set(ylabel="inputs to its relu, root mean square")
    ax.legend()
    for ax, (kind, accuracies) in zip(axes, found.items(), strict=True):
        plotting.heat_map(ax, accuracies.mean(-1), cfg.depths, [f"{rate:g}" for rate in cfg.rates])
        ax.set(title=f"He's kernels: test accuracy {kind}", xlabel="learning rate", ylabel="hidden layers")
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
