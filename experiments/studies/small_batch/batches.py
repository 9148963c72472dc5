"""Batches that are not drawn at random: each is of one class, or of two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.tutorial import runs
from experiments.tutorial.batches import batch_indices

# Of how many classes a batch is, and whether the two are always the same pair: 0 and 1, 2 and 3, and so on.
FIXED_PAIRS, RANDOM_PAIRS, ONE_CLASS = (2, True), (2, False), (1, True)


def batches_of_classes(
    seeds: list[int], labels: np.ndarray, size: int, classes: int, fixed: bool
) -> Callable[[int, int], np.ndarray]:
    """`(first, count) -> [seeds, count, size]`: the training examples of those steps.

    The classes of a step are drawn at random, and each gives as many examples as the other, in turns. Each class is
    shuffled and gone through epoch by epoch, as the whole is by `batch_indices`.

    Args:
        seeds: each with batches of its own.
        labels: of all examples, in the order of `runs.all_examples`.
        size: of a batch, a multiple of `classes`.
        classes: how many a batch is of.
        fixed: every class always comes with the same others.
    """
    training = labels[runs.VALIDATION : runs.VALIDATION + runs.TRAINING]
    members = [runs.VALIDATION + np.flatnonzero(training == c) for c in range(10)]

    def of_seed(seed: int, first: int, count: int) -> np.ndarray:
        # From the first step on, for what a class has given before.
        draws, steps = np.random.default_rng((seed, 3)), first + count
        groups = np.arange(10).reshape(-1, classes)
        if fixed:
            chosen = groups[draws.random((steps, len(groups))).argmax(-1)]
        else:
            chosen = draws.random((steps, 10)).argsort(-1)[:, :classes]
        indices = np.empty((count, size // classes, classes), np.int32)
        for c, examples in enumerate(members):
            step, place = np.nonzero(chosen == c)
            before = int(np.sum(step < first))
            step, place = step[before:] - first, place[before:]
            if len(step):
                own = batch_indices((seed, 4, c), before, len(step), size // classes, len(examples))
                indices[step, :, place] = examples[own]
        return indices.reshape(count, size)

    return lambda first, count: np.stack([of_seed(seed, first, count) for seed in seeds])
