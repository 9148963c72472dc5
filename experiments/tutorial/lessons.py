"""How the tutorial trains and evaluates a model: its batches, its optimizer, its measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
import optax
from rich.console import Console

from experiments.harness import training
from experiments.harness.folder import run_in_folder
from experiments.tutorial import classifier, runs
from experiments.tutorial.batches import batch_indices
from experiments.tutorial.trouble import make_explain


def train(
    folder: Path,
    model: nn.Module,
    settings: dict[str, Any],
    data: classifier.Examples,
    console: Console,
    *,
    resume: bool,
    on_evaluation: Callable[[training.Evaluation], None] = lambda _evaluation: None,
) -> float:
    """Train a model on all seeds, writing its files as it goes.

    Args:
        folder: of this run.
        model: what to train.
        settings: all that the results depend on, `steps` and `seeds` among them.
        data: all examples, in the order of `runs.all_examples`.
        console: to print and show progress on.
        resume: go on from the last checkpoint.
        on_evaluation: called after every evaluation.

    Returns:
        The seconds that it took in all.
    """
    steps, seeds = settings["steps"], settings["seeds"]
    return run_in_folder(
        folder,
        settings,
        classifier.classification(model, optax.sgd(runs.LEARNING_RATE)),
        data,
        training_batches(seeds),
        seeds=seeds,
        steps=steps,
        evaluate_every=runs.EVALUATE_EVERY,
        evaluate=make_evaluate(model, seeds, steps, data),
        on_evaluation=on_evaluation,
        explain=make_explain(model, data),
        resume=resume,
        console=console,
    )


def training_batches(seeds: list[int], size: int | None = None) -> Callable[[int, int], np.ndarray]:
    """`(first, count) -> [seeds, count, batch]`: the training examples of those steps, 64 at a time or `size`."""
    batch = runs.BATCH_SIZE if size is None else size

    def batches(first: int, count: int) -> np.ndarray:
        streams = [batch_indices((seed, 0), first, count, batch, runs.TRAINING) for seed in seeds]
        return runs.VALIDATION + np.stack(streams)

    return batches


def whole_test_set(members: int) -> np.ndarray:
    """`[members, n]`: the whole test set for each."""
    return consecutive(members, runs.VALIDATION + runs.TRAINING, runs.TEST)


def consecutive(members: int, first: int, count: int) -> np.ndarray:
    """`[members, count]`: the examples from the first on, the same for each member."""
    return np.broadcast_to(np.arange(first, first + count, dtype=np.int32), (members, count))


def make_evaluate(
    model: nn.Module, seeds: list[int], steps: int, data: classifier.Examples
) -> Callable[[training.TrainState, int, np.ndarray], training.Metrics]:
    """What is measured at an evaluation.

    The tutorial's two batches; the whole test set, once with the running statistics and, for a model with batch norm,
    once with those of its batches of 100; and at the end the whole training set.
    """
    evaluation_mode = training.mean_score(classifier.scorer(model))
    batch_mode = training.mean_score(classifier.scorer(model, batch_statistics=True)) if model.norm else None

    def evaluate(state: training.TrainState, step: int, last_batch: np.ndarray) -> training.Metrics:
        number = step // runs.EVALUATE_EVERY
        streams = [batch_indices((seed, 1), number, 1, runs.BATCH_SIZE, runs.TEST) for seed in seeds]
        test_batch = runs.VALIDATION + runs.TRAINING + np.concatenate(streams)
        test_set = whole_test_set(len(seeds))
        scores = {
            "train_batch": evaluation_mode(state, data, last_batch),
            "test_batch": evaluation_mode(state, data, test_batch),
            "test": evaluation_mode(state, data, test_set),
        }
        if batch_mode:
            scores["test_batch_stats"] = batch_mode(state, data, test_set)
        if step == steps:
            training_set = consecutive(len(seeds), runs.VALIDATION, runs.TRAINING)
            scores["train"] = evaluation_mode(state, data, training_set)
        return {f"{name}_{metric}": value for name, score in scores.items() for metric, value in score.items()}

    return evaluate
