"""What statistics of other sources are worth, in points of test accuracy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import training
from experiments.harness.placement import fetch
from experiments.harness.progress import progress
from experiments.harness.seeds import for_all_seeds, stack, unstack
from experiments.harness.training import TrainState
from experiments.tutorial import classifier, lessons, nets, runs
from experiments.tutorial.batches import batch_indices
from jaxbn.inference import recalibrate
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


class Experiment:
    """What all measurements share: seeds, data, and how to train, recalibrate and score on them."""

    def __init__(self, seeds: list[int], steps: int, data: classifier.Examples, console: Console) -> None:
        self.seeds, self.steps, self.data, self.console = seeds, steps, data, console

    def train(
        self,
        model: nn.Module,
        name: str,
        *,
        batch: int = runs.BATCH_SIZE,
        rate: float = runs.LEARNING_RATE,
        every: int | None = None,
    ) -> list[TrainState]:
        """The states after every so many steps, or after all of them alone."""

        def batches(first: int, count: int) -> np.ndarray:
            streams = [batch_indices((seed, 0), first, count, batch, runs.TRAINING) for seed in self.seeds]
            return runs.VALIDATION + np.stack(streams)

        problem, states = classifier.classification(model, optax.sgd(rate)), list[TrainState]()
        with progress(self.console, name, self.steps) as on_progress:
            training.train(
                problem,
                training.init_state(problem, self.seeds),
                self.data,
                batches,
                steps=self.steps,
                evaluate_every=every or self.steps,
                evaluate=lambda *_: {},
                on_progress=on_progress,
                on_evaluation=lambda _, state: states.append(state),
            )
        return states

    def scorer(self, model: nn.Module) -> Callable[[TrainState], np.ndarray]:
        """`state -> [seeds]`, the accuracies on all test images in evaluation mode, in percent."""
        score = training.mean_score(classifier.scorer(model))
        return lambda state: 100 * score(state, self.data, lessons.whole_test_set(len(unstack(state))))["acc"]

    def recalibrated(
        self, model: nn.Module, state: TrainState, indices: np.ndarray, order: Any = "layers"
    ) -> TrainState:
        """With the population statistics of these images, `[seeds, n]`."""

        @for_all_seeds
        def one(data: classifier.Examples, _count: Any, state: TrainState, indices: jax.Array) -> TrainState:
            apply = functools.partial(model.apply, train=False)
            images = data.images[indices].astype(jnp.float32) / 255
            variables, _ = recalibrate(apply, {"params": state.params, **state.extras}, images, order=order)
            return state._replace(extras={"batch_stats": variables["batch_stats"]})

        return one(self.data, 0, state, indices)

    def on_everything(self, model: nn.Module, state: TrainState) -> TrainState:
        """With the population statistics of all training images."""
        images = self.data.images[runs.VALIDATION : runs.VALIDATION + runs.TRAINING]
        batches = [images[i : i + 5_000] for i in range(0, len(images), 5_000)]

        def apply(variables: Any, images: jax.Array) -> Any:
            return model.apply(variables, images.astype(jnp.float32) / 255, train=False)

        def one(state: TrainState) -> TrainState:
            variables, _ = recalibrate(apply, {"params": state.params, **state.extras}, batches)
            return state._replace(extras={"batch_stats": fetch(variables["batch_stats"])})

        return stack([one(of_seed) for of_seed in unstack(state)])


def draws(seeds: list[int], number: int, size: int) -> np.ndarray:
    """`[seeds, size]`: for each seed other training images, no one twice."""
    shuffled = [np.random.default_rng((seed, 2, number)).permutation(runs.TRAINING)[:size] for seed in seeds]
    return (runs.VALIDATION + np.stack(shuffled)).astype(np.int32)


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
        (state,) = experiment.train(model, f"batches of {batch}", batch=batch, rate=runs.LEARNING_RATE * batch / 32)
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
