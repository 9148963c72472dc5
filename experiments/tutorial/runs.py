"""The tutorial's four runs: a dense and a convolutional network, each with and without batch norm, and its settings."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import flax.linen as nn
import numpy as np
from flax.linen import initializers

from experiments.harness.data import Mnist
from experiments.tutorial import nets
from jaxbn import presets
from jaxbn.linen import BatchNorm

# Examples, in the order of `all_examples`.
VALIDATION, TRAINING, TEST = 5_000, 55_000, 10_000
BATCH_SIZE = 64
LEARNING_RATE = 0.1
EVALUATE_EVERY = 500

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
    "mlp-bn": Run(nets.MLP(TUTORIAL_NORM), 10_000),
    "mlp": Run(nets.MLP(), 10_000),
    "conv-bn": Run(nets.ConvNet(SLIM_NORM), 5_000),
    "conv": Run(nets.ConvNet(), 5_000),
}


def all_examples(mnist: Mnist) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: validation, training, test."""
    images = np.concatenate([mnist.train_images, mnist.test_images])
    return images, np.concatenate([mnist.train_labels, mnist.test_labels])


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
