"""Do deep nets train at once with batch norm? `python -m experiments.studies.depth`.

Dense nets of the tutorial's width, 100, of 1 to 32 hidden layers, with and without batch norm, each with learning rates
from 0.003 to 3, on MNIST. Both kinds get He's initial values, made for deep nets without batch norm, and plain SGD.
A seed gives the same initial kernels and the same batches at every learning rate. Writes a map of the final test
accuracy, `depth.png`, and its numbers, `summary.md` and `summary.json`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import flax.linen as nn
import numpy as np
import optax
from rich.console import Console

from experiments.harness import compilation, config, paired, plotting, program, results, study, training
from experiments.harness.data import load_kept
from experiments.harness.errors import UserError
from experiments.harness.placement import place
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown, mean_and_spread
from experiments.tutorial import classifier, lessons, nets, runs
from jaxbn.linen import BatchNorm

KINDS = {"without batch norm": None, "with batch norm": functools.partial(BatchNorm, momentum=0.9)}


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
    out: Path = Path("results/depth")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train and report."""
    check(cfg)
    data = classifier.on_device(*runs.all_examples(load_kept(cfg.data_dir, report=console.print)))
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for depth in cfg.depths:
        for kind, norm in KINDS.items():
            accuracies = train(nets.Deep(depth, norm), f"{depth} deep, {kind}", cfg, data, console)
            found[kind].append(accuracies)
            line = ", ".join(f"{acc:.3f}" for acc in accuracies.mean(-1))
            console.print(f"{depth} deep, {kind}: {line}")
    report(cfg, {kind: np.stack(accuracies) for kind, accuracies in found.items()}, console)


def check(cfg: Config) -> None:
    """Refuse what can't be run, before any work."""
    if not cfg.depths or min(cfg.depths) < 1:
        raise UserError(f"`--depths` must be numbers from 1 on, got {[*cfg.depths]}.")
    if not cfg.rates or not all(0 < rate < float("inf") for rate in cfg.rates):
        raise UserError(f"`--rates` must be numbers above 0, got {[*cfg.rates]}.")
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()


def train(model: nn.Module, name: str, cfg: Config, data: classifier.Examples, console: Console) -> np.ndarray:
    """The test accuracies `[rates, seeds]` after training with every rate, all of them together."""
    members = cfg.all_seeds() * len(cfg.rates)
    # A rate that is part of the state and not of the program: one program serves them all.
    problem = classifier.classification(model, optax.inject_hyperparams(optax.sgd)(learning_rate=1.0))
    state = training.init_state(problem, members)
    rates = place(np.repeat(np.asarray(cfg.rates, np.float32), cfg.seeds))
    state = state._replace(optimizer=state.optimizer._replace(hyperparams={"learning_rate": rates}))
    score = training.mean_score(classifier.scorer(model))

    def evaluate(state: training.TrainState, _step: int, _batch: np.ndarray) -> training.Metrics:
        return score(state, data, lessons.whole_test_set(len(members)))

    with progress(console, name, cfg.steps) as on_progress:
        _, history = training.train(
            problem,
            state,
            data,
            lessons.training_batches(members),
            steps=cfg.steps,
            evaluate_every=cfg.steps,
            evaluate=evaluate,
            on_dispatch=lambda step, _: on_progress(step),
        )
    return history[-1].metrics["acc"].reshape(len(cfg.rates), cfg.seeds)


def report(cfg: Config, found: dict[str, np.ndarray], console: Console) -> None:
    """Write the map and the tables, of accuracies `[depths, rates, seeds]`, and print what the best rates give."""
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
    best = best_rates(cfg, found)
    several = cfg.seeds > 1
    notes = [
        f"Accuracy on all test images after {cfg.steps:,} steps of {runs.BATCH_SIZE} images, "
        f"{f'mean ± standard deviation of {cfg.seeds} seeds' if several else 'one seed'}; the difference in points"
        f"{', seed by seed, ± its standard error' if several else ''}.",
        "The best rate is chosen on the same test images, for both kinds alike.",
    ]
    measured = {
        "depths": cfg.depths,
        "rates": cfg.rates,
        "steps": cfg.steps,
        "seeds": cfg.all_seeds(),
        "test_acc": {kind: accuracies.tolist() for kind, accuracies in found.items()},
    }
    results.write_summary(cfg.out, measured, markdown([best, *tables], notes))
    draw(cfg, found)
    best.show(notes, console)
    results.name_files(cfg.out, ("summary.md", "summary.json", "depth.png"), console)


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


def draw(cfg: Config, found: dict[str, np.ndarray]) -> None:
    """A map for each kind."""
    figure, axes = plotting.new_figure(len(found))
    for ax, (kind, accuracies) in zip(axes, found.items(), strict=True):
        plotting.heat_map(ax, accuracies.mean(-1), cfg.depths, [f"{rate:g}" for rate in cfg.rates])
        ax.set(title=f"Test accuracy {kind}", xlabel="learning rate", ylabel="hidden layers")
    plotting.save_figure(figure, cfg.out / "depth.png")


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
