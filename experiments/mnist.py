"""The tutorial's four MNIST runs: `python -m experiments.mnist`.

A dense and a convolutional network, each with and without batch norm, with the tutorial's own hyper-parameters, in its
order and with its lines; then a table beside the numbers it printed, a plot and files. Less than a minute on 2 cores,
and on the first run some seconds more for the data. Expect a test accuracy of about .970 (mlp-bn), .974 (mlp), .986
(conv-bn) and .984 (conv).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import numpy as np
import optax
from flax.linen import initializers
from rich.console import Console

from experiments.harness import classifier, compilation, config, jobs, models, program, run, timing, training
from experiments.harness.batches import batch_indices
from experiments.harness.data import Mnist, load_kept
from experiments.harness.errors import UserError
from experiments.mnist_report import report
from jaxbn import presets
from jaxbn.linen import BatchNorm

VALIDATION, TRAINING, TEST = 5_000, 55_000, 10_000
BATCH_SIZE = 64
LEARNING_RATE = 0.1
EVALUATE_EVERY = 500
PRINT_EVERY = 1_000

TUTORIAL_NORM = functools.partial(
    BatchNorm,
    momentum=presets.TUTORIAL["momentum"],
    epsilon=presets.TUTORIAL["epsilon"],
    scale_init=initializers.normal(1.0),
    bias_init=initializers.normal(1.0),
    var_init=initializers.zeros,
)
SLIM_NORM = functools.partial(
    BatchNorm, momentum=presets.SLIM["momentum"], epsilon=presets.SLIM["epsilon"], use_scale=False
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One of the tutorial's runs: the model and how long it trains."""

    model: nn.Module
    steps: int


RUNS = {
    "mlp-bn": Run(models.MLP(TUTORIAL_NORM), 10_000),
    "mlp": Run(models.MLP(), 10_000),
    "conv-bn": Run(models.ConvNet(SLIM_NORM), 5_000),
    "conv": Run(models.ConvNet(), 5_000),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    models: tuple[Literal["mlp-bn", "mlp", "conv-bn", "conv"], ...] = ("mlp-bn", "mlp", "conv-bn", "conv")
    """Which of the tutorial's runs to make, in which order."""
    steps: int | None = None
    """Training steps of every run; None for the tutorial's 10000 (mlp) and 5000 (conv)."""
    seeds: int = 1
    """How many seeds to train, together; mean and standard deviation are reported."""
    seed: int = 0
    """The first seed; the others follow it."""
    out: Path = Path("results/mnist")
    """The folder for all results. Results of an earlier run of the same model there are replaced."""
    data_dir: Path | None = None
    """A folder with the four official MNIST files, or a TFDS data directory; None to find or fetch the data."""
    resume: bool = False
    """Go on from the last checkpoints in the results folder, with results identical to those of an unbroken run."""


def main(args: list[str] | None = None) -> int:
    """Run the experiment, and return the exit status."""
    return program.run(Config, args, "experiments.mnist", __doc__ or "", work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, train and report."""
    check(cfg)
    run_all(cfg, load_kept(cfg.data_dir, report=console.print), console)


def check(cfg: Config) -> None:
    """Refuse what can't be run, before any work."""
    if not cfg.models:
        raise UserError(f"`--models` must name at least one of {', '.join(RUNS)}.")
    if cfg.steps is not None:
        config.require_at_least("--steps", cfg.steps, 1)
    config.require_seeds(cfg.seed, cfg.seeds)
    config.require_writable("--out", cfg.out)
    if cfg.resume:
        for name in cfg.models:
            run.require_same_settings(cfg.out / name, settings_of(name, cfg))


def run_all(cfg: Config, mnist: Mnist, console: Console) -> None:
    """Train all models, then report."""
    data = classifier.on_device(*all_examples(mnist))
    seconds: dict[str, float] = {}
    try:
        runs: dict[str, Callable[[Console], float]] = {}
        for name in cfg.models:
            settings = settings_of(name, cfg)
            runs[name] = functools.partial(train, cfg.out / name, RUNS[name].model, settings, data, resume=cfg.resume)
        seconds.update(jobs.run_jobs(runs, console))
    finally:
        # Also after Ctrl-C: what is finished deserves its table.
        if seconds:
            report(cfg.out, seconds, console)


def all_examples(mnist: Mnist) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: validation, training, test."""
    images = np.concatenate([mnist.train_images, mnist.test_images])
    return images, np.concatenate([mnist.train_labels, mnist.test_labels])


def train(
    folder: Path,
    model: nn.Module,
    settings: dict[str, Any],
    data: classifier.Examples,
    console: Console,
    *,
    resume: bool,
    lines: bool = True,
) -> float:
    """Train a model on all seeds, writing its files as it goes; returns the seconds that it took in all."""
    steps, seeds = settings["steps"], settings["seeds"]

    def batches(first: int, count: int) -> np.ndarray:
        streams = [batch_indices((seed, 0), first, count, BATCH_SIZE, TRAINING) for seed in seeds]
        return VALIDATION + np.stack(streams)

    def print_all(evaluation: training.Evaluation) -> None:
        if lines:
            print_lines(evaluation, evaluation.step == steps, console)

    return run.run_in_folder(
        folder,
        settings,
        classifier.classification(model, optax.sgd(LEARNING_RATE)),
        data,
        batches,
        seeds=seeds,
        steps=steps,
        evaluate_every=EVALUATE_EVERY,
        evaluate=make_evaluate(model, seeds, steps, data),
        on_evaluation=print_all,
        resume=resume,
        console=console,
    )


def settings_of(name: str, cfg: Config) -> dict[str, Any]:
    """All that the results of a model depend on."""
    return {
        "model": name,
        **settings_of_model(RUNS[name].model),
        "steps": cfg.steps or RUNS[name].steps,
        "seeds": list(range(cfg.seed, cfg.seed + cfg.seeds)),
    }


def settings_of_model(model: nn.Module) -> dict[str, Any]:
    """What all runs of a model have in common."""
    return {
        # Without the addresses of functions, which differ from process to process.
        "architecture": re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(model).split())),
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "evaluate_every": EVALUATE_EVERY,
        "splits": {"validation": VALIDATION, "training": TRAINING, "test": TEST},
    }


def make_evaluate(
    model: nn.Module, seeds: list[int], steps: int, data: classifier.Examples
) -> Callable[[training.TrainState, int, np.ndarray], training.Metrics]:
    """What is measured at an evaluation.

    The tutorial's two batches; the whole test set, once with the running statistics and, for a model with batch norm,
    once with those of its batches of 100; and at the end the whole training set.
    """
    evaluation_mode = training.mean_score(classifier.scorer(model))
    batch_mode = training.mean_score(classifier.scorer(model, batch_statistics=True)) if model.norm else None

    def all_of(first: int, count: int) -> np.ndarray:
        return np.broadcast_to(np.arange(first, first + count, dtype=np.int32), (len(seeds), count))

    def evaluate(state: training.TrainState, step: int, last_batch: np.ndarray) -> training.Metrics:
        streams = [batch_indices((seed, 1), step // EVALUATE_EVERY, 1, BATCH_SIZE, TEST) for seed in seeds]
        test_batch = VALIDATION + TRAINING + np.concatenate(streams)
        test_set = all_of(VALIDATION + TRAINING, TEST)
        scores = {
            "train_batch": evaluation_mode(state, data, last_batch),
            "test_batch": evaluation_mode(state, data, test_batch),
            "test": evaluation_mode(state, data, test_set),
        }
        if batch_mode:
            scores["test_batch_stats"] = batch_mode(state, data, test_set)
        if step == steps:
            scores["train"] = evaluation_mode(state, data, all_of(VALIDATION, TRAINING))
        return {f"{name}_{metric}": value for name, score in scores.items() for metric, value in score.items()}

    return evaluate


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
    compilation.leave_loops_rolled()
    timing.leave(main())
