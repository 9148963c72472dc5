"""What deep nets reach with and without batch norm, and what arrives in them of the images."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np
from flax.linen import initializers

from experiments.tutorial import nets
from experiments.tutorial.experiment import Experiment
from jaxbn.linen import BatchNorm

WITHOUT, WITH = "without batch norm", "with batch norm"
KINDS = {WITHOUT: None, WITH: functools.partial(BatchNorm, momentum=0.9)}

# Of the nets whose initial values are not made for their depth.
SPREAD = 0.05
LAYERS = 10
RATE = 0.1
STEPS = 800
# Of a layer, while relu lets half of the squares through.
GAIN = float(np.sqrt(100 * SPREAD**2 / 2))
IMAGES = 1_000


def plain(norm: nets.Norm | None) -> nets.Deep:
    """A net of ten hidden layers whose kernels are all N(0, 0.05), whatever their number of inputs."""
    return nets.Deep(LAYERS, norm, kernel_init=initializers.normal(SPREAD))


def accuracies(experiment: Experiment, model: nn.Module, name: str, rates: Sequence[float]) -> np.ndarray:
    """On the test images, `[rates, seeds]`, after training with every rate."""
    reached = experiment.scorer(model)(experiment.train_at_rates(model, name, rates)) / 100
    return reached.reshape(len(rates), -1)


def signal(model: nn.Module, seed: int, images: jax.Array) -> np.ndarray:
    """The root mean square of the inputs to each relu, before training and with the statistics of these images."""
    variables = model.init(jax.random.key(seed), images, train=False)
    kind = nn.Dense if model.norm is None else BatchNorm
    _, kept = model.apply(
        variables, images, train=True, mutable=True, capture_intermediates=lambda of, _: isinstance(of, kind)
    )
    outputs = {name: of["__call__"][0] for name, of in kept["intermediates"].items()}
    return np.asarray([(outputs[f"{kind.__name__}_{layer}"] ** 2).mean() ** 0.5 for layer in range(LAYERS)])
