"""The tutorial's four MNIST runs.

Takes under a minute on 2 cores; docs/tutorial.md has the results. For example:
    python -m experiments.mnist --models conv-bn conv --seeds 10

A dense and a convolutional network, each with and without batch norm, with the tutorial's own hyper-parameters, in its
order and with its lines; then a table beside the numbers it printed, a plot and files. The first run takes
some seconds more, for the data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from experiments.harness import compilation, config, jobs, program, results, rolled_loops, training
from experiments.harness.data import load_kept
from experiments.harness.devices import Devices
from experiments.harness.placement import mesh_of
from experiments.harness.precision import computing_in
from experiments.harness.processes import activity, agreement
from experiments.mnist.report import report
from experiments.tutorial import classifier, lessons, runs
from experiments.tutorial.runs import RUNS, all_examples, settings_of_model

PRINT_EVERY = 1_000


@dataclasses.dataclass(frozen=True)
class Config(Devices, config.ResumableSettings):
    """The command line."""

    models: tuple[Literal["mlp-bn", "mlp", "conv-bn", "conv"], ...] = ("mlp-bn", "mlp", "conv-bn", "conv")
    """Which of the tutorial's runs to make, in which order."""
    steps: int | None = None
    """Training steps of every run; by default the tutorial's 10000 (mlp) and 5000 (conv)."""
    seeds: int = 1
    """How many seeds to train, together; mean and standard deviation are reported."""
    out: Path = Path("results/mnist")
    """The folder for all results."""
    float64: bool = False
    """Compute in float64: slower, and the same numbers on any number of devices."""

    def settings_of_runs(self) -> dict[str, dict[str, Any]]:
        """For each model all that its results depend on."""
        return {name: settings_of(name, self) for name in self.models}

    def all_runs(self) -> tuple[str, ...]:
        """Also those that an earlier run of the program has made."""
        return tuple(RUNS)

    def common(self) -> dict[str, Any]:
        """The flags that must be the same in all processes."""
        names = ("models", "steps", "seed", "seeds", "float64", "resume", "overwrite", "devices", "process_count")
        return {f"--{name.replace('_', '-')}": getattr(self, name) for name in names}


def main(args: list[str] | None = None) -> int:
    """Run the experiment, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train and report."""
    check(cfg)
    cfg.join()
    with computing_in(float64=cfg.float64), agreement.spoken_by_the_first(console) as console:
        agreement.require_same(cfg.common())
        mesh = agreement.in_all(lambda: cfg.mesh(runs.BATCH_SIZE))
        agreement.in_first(cfg.check)
        mnist = agreement.in_all(lambda: load_kept(cfg.data_dir, report=console.print))
        run_all(cfg, classifier.on_device(*all_examples(mnist), mesh), console)


def check(cfg: Config) -> None:
    """Refuse flags that can't be right."""
    config.require_some("--models", cfg.models, RUNS)
    if cfg.steps is not None:
        config.require_at_least("--steps", cfg.steps, 1)
    config.require_seeds(cfg.seed, cfg.seeds)
    cfg.check_devices()


def run_all(cfg: Config, data: classifier.Examples, console: Console) -> None:
    """Train all models, then report."""

    finished: dict[str, float] = {}

    def report_all() -> None:
        activity.leave_steps()
        if agreement.is_first():
            report(cfg.out, console)

    with results.reported(finished, report_all):
        training_jobs: dict[str, Callable[[Console], float]] = {
            name: functools.partial(train, name, cfg, data) for name in cfg.models
        }
        finished.update(jobs.run_jobs(training_jobs, console, one_by_one=mesh_of(data) is not None))


def train(name: str, cfg: Config, data: classifier.Examples, console: Console) -> float:
    """Make one of the runs, with the tutorial's lines; returns the seconds that it took in all."""
    settings = settings_of(name, cfg)

    def print_all(evaluation: training.Evaluation) -> None:
        print_lines(evaluation, evaluation.step == settings["steps"], console)

    return lessons.train(
        cfg.out / name, RUNS[name].model, settings, data, console, resume=cfg.resume, on_evaluation=print_all
    )


def settings_of(name: str, cfg: Config) -> dict[str, Any]:
    """All that the results of a model depend on."""
    return {
        "model": name,
        **settings_of_model(RUNS[name].model),
        "steps": cfg.steps or RUNS[name].steps,
        "seeds": cfg.all_seeds(),
        "dtype": "float64" if cfg.float64 else "float32",
    }


def print_lines(evaluation: training.Evaluation, last: bool, console: Console) -> None:
    """The tutorial's lines; with several seeds, their means."""
    mean = {name: value.mean() for name, value in evaluation.metrics.items()}
    if evaluation.step % PRINT_EVERY == 0 or last:
        batches = {"train": "train_batch", "test": "test_batch"}
        values = (f"{s}_{m}: {mean[f'{batch}_{m}']:.6f}" for s, batch in batches.items() for m in ("loss", "acc"))
        console.print(f"STEP {evaluation.step}: {' '.join(values)}")
    if last:
        console.print("Train Done!")
        console.print("-" * 30)
        for split in ("train", "test"):
            console.print(f"{split.capitalize()} loss: {mean[f'{split}_loss']:.6f}")
            console.print(f"{split.capitalize()} accuracy: {mean[f'{split}_acc']:.6f}")


if __name__ == "__main__":
    compilation.cache_compilations()
    rolled_loops.leave_loops_rolled()
    program.leave(main())
