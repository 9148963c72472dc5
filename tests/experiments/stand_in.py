"""260 random images in the place of MNIST, and runs that are a matter of seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness import training
from experiments.harness.data import Mnist
from experiments.tutorial import runs


def load_stand_in(data_dir: Path | None = None, report: Any = None) -> Mnist:
    draw = np.random.default_rng(0).integers
    images, labels = draw(0, 256, (260, 28, 28), np.uint8), draw(0, 10, 260, np.uint8)
    # Every digit among the ten of the validation set.
    labels[:10] = np.arange(10)
    return Mnist(images[:140], labels[:140], images[140:], labels[140:])


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Splits, batches and dispatches of a few images; also in a process of its own."""
    sizes = {"VALIDATION": 10, "TRAINING": 130, "TEST": 120, "BATCH_SIZE": 20, "EVALUATE_EVERY": 2}
    for name, value in sizes.items():
        patch.setattr(runs, name, value)
    for name, value in {"STEPS_PER_DISPATCH": 2, "EXAMPLES_PER_CHUNK": 10}.items():
        patch.setattr(training, name, value)


def load_prototypes(data_dir: Path | None = None, report: Any = None) -> Mnist:
    """As many images that can be learned: ten random ones, black and white, of whose pixels three in ten err."""
    random = np.random.default_rng(1)
    labels = np.arange(260, dtype=np.uint8) % 10
    images = (random.random((10, 28, 28)) < 0.5)[labels] ^ (random.random((260, 28, 28)) < 0.3)
    images = np.where(images, 255, 0).astype(np.uint8)
    return Mnist(images[:140], labels[:140], images[140:], labels[140:])
