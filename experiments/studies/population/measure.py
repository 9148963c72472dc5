"""What statistics of other sources are worth, in points of test accuracy."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import numpy as np

from experiments.harness.seeds import stack, unstack
from experiments.tutorial import lessons, nets, runs
from experiments.tutorial.experiment import Experiment, draws
from jaxbn.linen import BatchNorm

SIZES = (16, 64, 256, 1_000, 4_000, 16_000)
DRAWS = 8
MANY = 4_000
DECAYS = (0.9, 0.99, 0.999)
BATCHES = (2, 4, 8, 16, 32, 64, 128)
# Averaged are the weights after each of the last ten times fifty steps.
AVERAGED, EVERY = 10, 50


def dense(decay: float = 0.99) -> nn.Module:
    """784-100-100-10."""
    return nets.Deep(2, functools.partial(BatchNorm, momentum=decay))


NETS = {"dense": dense(), "convolutional": nets.ConvNet(runs.SLIM_NORM)}


def by_size(experiment: Experiment) -> dict[str, np.ndarray]:
    """For each net, how many points so many images cost beside all of them: `[sizes, seeds * draws]`."""
    found = {}
    for name, model in NETS.items():
        (state,) = experiment.train(model, name)
        score = experiment.scorer(model)
        every = score(experiment.on_everything(model, state))
        # All draws of a size are members of one program.
        members = stack([of_seed for of_seed in unstack(state) for _ in range(DRAWS)])
        costs = []
        for size in SIZES:
            each = np.concatenate([draws([seed], number, size) for seed in experiment.seeds for number in range(DRAWS)])
            costs.append(np.repeat(every, DRAWS) - score(experiment.recalibrated(model, members, each)))
        found[name] = np.stack(costs)
    return found


def by_decay(experiment: Experiment) -> tuple[list[str], dict[str, list[np.ndarray]]]:
    """After every third of the steps, accuracies with running averages of each decay, and recalibrated."""
    third = max(experiment.steps // 3, 1)
    columns: dict[str, list[np.ndarray]] = {}
    for decay in DECAYS:
        model = dense(decay)
        states = experiment.train(model, f"decay {decay}", every=third)
        columns[f"decay {decay:g}"] = [*map(experiment.scorer(model), states)]
    score, each = experiment.scorer(model), draws(experiment.seeds, 0, MANY)
    columns[f"recalibrated on {MANY:,}"] = [score(experiment.recalibrated(model, state, each)) for state in states]
    steps = sorted({*range(third, experiment.steps, third), experiment.steps})
    return [f"{step:,}" for step in steps], columns


def by_batch(experiment: Experiment) -> dict[str, list[np.ndarray]]:
    """For each size of the training batches, accuracies with running averages and recalibrated."""
    model, each = dense(), draws(experiment.seeds, 0, MANY)
    score = experiment.scorer(model)
    columns: dict[str, list[np.ndarray]] = {"decay 0.99": [], f"recalibrated on {MANY:,}": []}
    for batch in BATCHES:
        batches = lessons.training_batches(experiment.seeds, batch)
        (state,) = experiment.train(model, f"batches of {batch}", batches, rate=runs.LEARNING_RATE * batch / 32)
        for accuracies, of in zip(columns.values(), (state, experiment.recalibrated(model, state, each)), strict=True):
            accuracies.append(score(of))
    return columns


def of_averaged_weights(experiment: Experiment) -> dict[str, np.ndarray]:
    """Accuracies of a net and of the mean of its last weights, by the source of the statistics."""
    found = {}
    for name, model in NETS.items():
        states = experiment.train(model, f"{name}, averaged", every=EVERY)
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *(s.params for s in states[-AVERAGED:]))
        averaged, score, each = (
            states[-1]._replace(params=mean),
            experiment.scorer(model),
            draws(experiment.seeds, 0, MANY),
        )
        found[f"{name}: last weights, its running averages"] = score(states[-1])
        found[f"{name}: last weights, recalibrated"] = score(experiment.recalibrated(model, states[-1], each))
        found[f"{name}: averaged weights, old running averages"] = score(averaged)
        for order in ("pass", "layers"):
            new = experiment.recalibrated(model, averaged, each, order)
            found[f'{name}: averaged weights, recalibrated by "{order}"'] = score(new)
    return found
