"""What statistics of the images to come are worth to nets that were trained on others, in points of test accuracy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.harness import training
from experiments.harness.progress import progress
from experiments.studies.shift import corruptions
from experiments.tutorial import classifier, nets, runs
from experiments.tutorial.experiment import Experiment, recalibrator
from jaxbn.linen import BatchNorm

NORM = functools.partial(BatchNorm, momentum=0.99)
NETS = {"dense": nets.Deep(2, NORM), "convolutional": nets.ConvNet(NORM)}
PHOTOMETRIC: dict[Callable[..., jax.Array], tuple[float, ...]] = {
    corruptions.noise: (0.2, 0.4, 0.6),
    corruptions.contrast: (0.5, 0.7, 0.9),
    corruptions.brightness: (0.2, 0.4, 0.6),
    corruptions.blur: (1, 1.5, 2),
}
GEOMETRIC: dict[Callable[..., jax.Array], tuple[float, ...]] = {
    corruptions.rotation: (15, 30, 45),
    corruptions.translation: (2, 4, 6),
}
CORRUPTIONS = {**PHOTOMETRIC, **GEOMETRIC}
RECALIBRATION, ONE_CLASS = 2_000, 128
ALIKE = np.arange(RECALIBRATION)
# An affine change of the pixels.
SLOPE, OFFSET = 0.3, 0.5

# Accuracies by net and corruption.
Found = dict[str, dict[str, np.ndarray]]


class Trained:
    """A net of every seed, trained on clean images, to be tested on others."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        (self.state,) = experiment.train(NETS[name], name)
        self.seeds = len(experiment.seeds)
        self.score = training.mean_score(classifier.scorer(NETS[name]))
        self.recalibrators = {size: recalibrator(NETS[name]) for size in (RECALIBRATION, ONE_CLASS)}

    def accuracy(self, data: classifier.Examples, on: np.ndarray | None = None, test: np.ndarray | None = None) -> Any:
        """On these images of the data, with the statistics of those or the running ones: `[seeds]`, in percent."""
        state = self.state
        if on is not None:
            state = self.recalibrators[len(on)](data, 0, state, self.of_all(on))
        test = RECALIBRATION + np.arange(runs.TEST) if test is None else test
        return 100 * self.score(state, data, self.of_all(test))["acc"]

    def of_all(self, indices: np.ndarray) -> np.ndarray:
        """The same indices for every seed."""
        return np.broadcast_to(indices.astype(np.int32), (self.seeds, len(indices)))


@functools.partial(jax.jit, static_argnums=1)
def corrupted(data: classifier.Examples, corruption: Any, severity: float, seed: int) -> classifier.Examples:
    """All images of the data, each in its own way."""
    return data._replace(images=corruption(jax.random.key(seed), data.images, severity))


def by_corruption(trained: dict[str, Trained], clean: classifier.Examples, seed: int, console: Console) -> Found:
    """Accuracies `[severities, 2, seeds]` by net and corruption: with running statistics, and recalibrated."""
    found: Found = {name: {} for name in trained}
    with progress(console, "corruptions", len(CORRUPTIONS)) as on_progress:
        for number, (corruption, severities) in enumerate(CORRUPTIONS.items()):
            shifted = [corrupted(clean, corruption, severity, seed) for severity in severities]
            for name, net in trained.items():
                each = [[net.accuracy(data), net.accuracy(data, on=ALIKE)] for data in shifted]
                found[name][corruption.__name__] = np.array(each)
            on_progress(number + 1)
    return found


def of_one_class(net: Trained, clean: classifier.Examples) -> np.ndarray:
    """Points gained on each class by recalibration on images of that class alone, `[classes, seeds]`."""
    gains = []
    for label in range(10):
        of_class = np.flatnonzero(np.asarray(clean.labels) == label)
        test, few = of_class[of_class >= RECALIBRATION], of_class[:ONE_CLASS]
        gains.append(net.accuracy(clean, on=few, test=test) - net.accuracy(clean, test=test))
    return np.array(gains)


def of_affine(trained: dict[str, Trained], clean: classifier.Examples) -> dict[str, np.ndarray]:
    """By net, accuracies `[3, seeds]`: on clean images, recalibrated; on changed ones, and on these recalibrated."""
    changed = clean._replace(images=SLOPE * clean.images + OFFSET)
    return {
        name: np.array([net.accuracy(clean, on=ALIKE), net.accuracy(changed), net.accuracy(changed, on=ALIKE)])
        for name, net in trained.items()
    }
