"""What nets with each norm reach, by the size of their batches and by how those are drawn."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import optax

from experiments.harness.placement import fetch
from experiments.studies.small_batch.batches import FIXED_PAIRS, ONE_CLASS, RANDOM_PAIRS, batches_of_classes
from experiments.tutorial import lessons, nets, runs
from experiments.tutorial.experiment import Experiment, draws
from jaxbn.linen import BatchNorm

SIZES = (2, 4, 8, 16, 32, 64)
# Ghost groups are parts of a batch of so many, and at so many the ways to draw a batch are compared.
BATCH = 32
MANY = 4_000
MOMENTUM = 0.99
R_MAX, D_MAX = 3.0, 5.0

PLAIN, RENORM, GHOST = "batch norm", "renorm", f"ghosts in {BATCH}"
RANDOM, TWO_CLASSES = "drawn at random", "of two classes, fixed pairs"
DRAWINGS: dict[str, tuple[int, bool] | None] = {
    RANDOM: None,
    TWO_CLASSES: FIXED_PAIRS,
    "of two classes, random pairs": RANDOM_PAIRS,
    "of one class": ONE_CLASS,
}


class Scores(NamedTuple):
    """Accuracies `[seeds]` on all test images, in percent: with the running statistics, and with recalibrated ones."""

    running: np.ndarray
    recalibrated: np.ndarray


def scores(experiment: Experiment, norm: dict[str, Any], name: str, drawing: str, size: int) -> Scores:
    """Of the net 784-100-100-10 with these options of the norm, trained on batches of that size."""
    model = nets.Deep(2, functools.partial(BatchNorm, **{"momentum": MOMENTUM, **norm}))
    classes, rate = DRAWINGS[drawing], runs.LEARNING_RATE * size / BATCH
    if classes is None:
        batches = lessons.training_batches(experiment.seeds, size)
    else:
        batches = batches_of_classes(experiment.seeds, fetch(experiment.data.labels), size, *classes)
    (state,) = experiment.train(model, f"{name}, {drawing}, {size}", batches, rate=rate)
    score, images = experiment.scorer(model), draws(experiment.seeds, 0, MANY)
    return Scores(score(state), score(experiment.recalibrated(model, state, images)))


def limits(steps: int) -> dict[str, Any]:
    """Of renorm: a batch norm at first, then wider and wider, in the order and the proportions of its paper.

    The paper's 5,000, 25,000 and 40,000 steps are here 1/32, 5/32 and 1/4 of all.
    """
    start, d_end, r_end = steps // 32, 5 * steps // 32, steps // 4
    return {
        "r_max": optax.linear_schedule(1.0, R_MAX, max(r_end - start, 1), start),
        "d_max": optax.linear_schedule(0.0, D_MAX, max(d_end - start, 1), start),
    }


def by_size(experiment: Experiment, drawing: str) -> dict[str, dict[int, Scores]]:
    """For each norm, by the size of the batches, or of the ghosts."""
    found: dict[str, dict[int, Scores]] = {PLAIN: {}, RENORM: {}, GHOST: {}}
    for size in SIZES:
        found[PLAIN][size] = scores(experiment, {}, PLAIN, drawing, size)
        found[RENORM][size] = scores(experiment, limits(experiment.steps), RENORM, drawing, size)
        if size < BATCH:
            found[GHOST][size] = scores(experiment, {"ghost_size": size}, f"ghosts of {size}", drawing, BATCH)
    return found


def by_drawing(experiment: Experiment) -> dict[str, dict[str, Scores]]:
    """For the drawings that `by_size` has not been asked for, by the norm."""
    norms = {PLAIN: {}, RENORM: limits(experiment.steps)}
    return {
        drawing: {name: scores(experiment, norm, name, drawing, BATCH) for name, norm in norms.items()}
        for drawing in DRAWINGS
        if drawing not in (RANDOM, TWO_CLASSES)
    }


def of_renorm(experiment: Experiment) -> dict[str, Scores]:
    """Renorm of other decays and limits, on batches of two classes."""
    schedule, constant = limits(experiment.steps), {"r_max": R_MAX, "d_max": D_MAX}
    variants = {f"decay {decay:g}": {**schedule, "momentum": decay} for decay in (0.9, 0.99, 0.999)}
    variants[f"decay {MOMENTUM:g}, the limits {R_MAX:g} and {D_MAX:g} from the start"] = constant
    return {name: scores(experiment, norm, f"renorm, {name}", TWO_CLASSES, BATCH) for name, norm in variants.items()}
