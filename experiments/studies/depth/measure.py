"""What deep nets reach with and without batch norm, and what arrives in them of the images."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.linen import initializers
from rich.console import Console

from experiments.harness import training
from experiments.harness.placement import place
from experiments.harness.progress import progress
from experiments.tutorial import classifier, lessons, nets
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
    return nets.Deep(LAYERS, norm, initializers.normal(SPREAD))


def accuracies(
    model: nn.Module,
    name: str,
    seeds: list[int],
    rates: tuple[float, ...],
    steps: int,
    data: classifier.Examples,
    console: Console,
) -> np.ndarray:
    """On the test images, `[rates, seeds]`, after training with every rate, all of them together."""
    members = seeds * len(rates)
    # A rate that is part of the state and not of the program: one program serves them all.
    problem = classifier.classification(model, optax.inject_hyperparams(optax.sgd)(learning_rate=1.0))
    state = training.init_state(problem, members)
    placed = place(np.repeat(np.asarray(rates, np.float32), len(seeds)))
    state = state._replace(optimizer=state.optimizer._replace(hyperparams={"learning_rate": placed}))
    score = training.mean_score(classifier.scorer(model))

    def evaluate(state: training.TrainState, _step: int, _batch: np.ndarray) -> training.Metrics:
        return score(state, data, lessons.whole_test_set(len(members)))

    with progress(console, name, steps) as on_progress:
        _, history = training.train(
            problem,
            state,
            data,
            lessons.training_batches(members),
            steps=steps,
            evaluate_every=steps,
            evaluate=evaluate,
            on_dispatch=lambda step, _: on_progress(step),
        )
    return history[-1].metrics["acc"].reshape(len(rates), len(seeds))


def signal(model: nn.Module, seed: int, images: jax.Array) -> np.ndarray:
    """The root mean square of the inputs to each relu, before training and with the statistics of these images."""
    variables = model.init(jax.random.key(seed), images, train=False)
    kind = nn.Dense if model.norm is None else BatchNorm
    _, kept = model.apply(
        variables, images, train=True, mutable=True, capture_intermediates=lambda of, _: isinstance(of, kind)
    )
    outputs = {name: of["__call__"][0] for name, of in kept["intermediates"].items()}
    return np.asarray([(outputs[f"{kind.__name__}_{layer}"] ** 2).mean() ** 0.5 for layer in range(LAYERS)])
