"""Nets trained on MNIST with several seeds, scored with running statistics and with recalibrated ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import training
from experiments.harness.placement import fetch, place
from experiments.harness.progress import progress
from experiments.harness.seeds import for_all_seeds, stack, unstack
from experiments.harness.training import TrainState
from experiments.tutorial import classifier, lessons, runs
from jaxbn.inference import recalibrate


class Experiment:
    """What all measurements share: seeds, data, and how to train, recalibrate and score on them."""

    def __init__(self, seeds: list[int], steps: int, data: classifier.Examples, console: Console) -> None:
        self.seeds, self.steps, self.data, self.console = seeds, steps, data, console

    def train(
        self,
        model: nn.Module,
        name: str,
        batches: Callable[[int, int], np.ndarray] | None = None,
        *,
        rate: float = runs.LEARNING_RATE,
        every: int | None = None,
    ) -> list[TrainState]:
        """The states after every so many steps, or after all of them alone.

        Args:
            model: what to train.
            name: shown beside the progress.
            batches: `(first, count) -> [seeds, count, batch]`, the examples of those steps; `None` for the tutorial's.
            rate: of plain SGD.
            every: so many steps.
        """
        problem, states = classifier.classification(model, optax.sgd(rate)), list[TrainState]()
        with progress(self.console, name, self.steps) as on_progress:
            training.train(
                problem,
                training.init_state(problem, self.seeds),
                self.data,
                batches or lessons.training_batches(self.seeds),
                steps=self.steps,
                evaluate_every=every or self.steps,
                evaluate=lambda *_: {},
                on_dispatch=lambda step, _: on_progress(step),
                on_evaluation=lambda _, state: states.append(state),
            )
        return states

    def train_at_rates(self, model: nn.Module, name: str, rates: Sequence[float]) -> TrainState:
        """The states of all seeds after training with each rate, one rate after the other, all of them together."""
        members = self.seeds * len(rates)
        # A rate that is part of the state and not of the program: one program serves them all.
        problem = classifier.classification(model, optax.inject_hyperparams(optax.sgd)(learning_rate=1.0))
        state = training.init_state(problem, members)
        of_each = {"learning_rate": place(np.repeat(np.asarray(rates, np.float32), len(self.seeds)))}
        with progress(self.console, name, self.steps) as on_progress:
            state, _ = training.train(
                problem,
                state._replace(optimizer=state.optimizer._replace(hyperparams=of_each)),
                self.data,
                lessons.training_batches(members),
                steps=self.steps,
                evaluate_every=self.steps,
                evaluate=lambda *_: {},
                on_dispatch=lambda step, _: on_progress(step),
            )
        return state

    def scorer(self, model: nn.Module) -> Callable[[TrainState], np.ndarray]:
        """`state -> [seeds]`, the accuracies on all test images in evaluation mode, in percent."""
        score = training.mean_score(classifier.scorer(model))
        return lambda state: 100 * score(state, self.data, lessons.whole_test_set(len(unstack(state))))["acc"]

    def recalibrated(
        self, model: nn.Module, state: TrainState, indices: np.ndarray, order: Any = "layers"
    ) -> TrainState:
        """With the population statistics of these images, `[seeds, n]`."""
        return recalibrator(model, order)(self.data, 0, state, indices)

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


def recalibrator(model: nn.Module, order: Any = "layers") -> Callable[..., TrainState]:
    """`(data, count, state, indices [seeds, n]) -> state`, with the population statistics of these images."""

    @for_all_seeds
    def of_one_seed(data: classifier.Examples, _count: Any, state: TrainState, indices: jax.Array) -> TrainState:
        apply = functools.partial(model.apply, train=False)
        images, _ = classifier.gather(data, indices)
        variables, _ = recalibrate(apply, {"params": state.params, **state.extras}, images, order=order)
        return state._replace(extras={"batch_stats": variables["batch_stats"]})

    return of_one_seed


def draws(seeds: list[int], number: int, size: int) -> np.ndarray:
    """`[seeds, size]`: for each seed other training images, no one twice."""
    shuffled = [np.random.default_rng((seed, 2, number)).permutation(runs.TRAINING)[:size] for seed in seeds]
    return (runs.VALIDATION + np.stack(shuffled)).astype(np.int32)
