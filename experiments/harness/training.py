"""The one training loop. It receives functions and returns a history; it knows neither data sets nor files nor layers.

All seeds train together. Many steps run per dispatch, on a data set that stays on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness.placement import fetch, mesh_of, on_cpu
from experiments.harness.seeds import for_all_seeds, stack

# Steps per dispatch: few enough for live progress and a quick answer to Ctrl-C, enough to make dispatching free.
STEPS_PER_DISPATCH = 100
# Scoring goes in pieces that stay in the cache, and in dispatches of one shape.
EXAMPLES_PER_CHUNK = 100
CHUNKS_PER_DISPATCH = 50

Pytree = Any
Metrics = dict[str, np.ndarray]


class Problem(NamedTuple):
    """What to train, as functions of one seed's values.

    Attributes:
        init: `key -> (params, extras)`; the extras are what training updates without a gradient.
        loss: `(params, extras, data, indices) -> (loss, extras)`, on the examples of those indices.
        optimizer: an optax transformation.
    """

    init: Callable[[jax.Array], tuple[Pytree, Pytree]]
    loss: Callable[[Pytree, Pytree, Pytree, jax.Array], tuple[jax.Array, Pytree]]
    optimizer: optax.GradientTransformation


class TrainState(NamedTuple):
    """Everything that a step changes; every array has a leading axis of seeds."""

    params: Pytree
    extras: Pytree
    optimizer: Pytree


class Evaluation(NamedTuple):
    """One entry of the history: the step, and for every metric an array `[seeds]`."""

    step: int
    metrics: Metrics


def init_state(problem: Problem, seeds: list[int]) -> TrainState:
    """One training state per seed, stacked; a seed's state does not depend on the other seeds."""

    # It runs once: on a CPU, where LLVM would spend a second on it, it is not worth optimising.
    options = {"xla_backend_optimization_level": 1} if on_cpu() else None
    compiled = jax.jit(make_start(problem), compiler_options=options)
    return stack([compiled(jax.random.key(seed)) for seed in seeds])


def train(
    problem: Problem,
    state: TrainState,
    data: Pytree,
    batches: Callable[[int, int], np.ndarray],
    *,
    first_step: int = 0,
    steps: int,
    evaluate_every: int,
    evaluate: Callable[[TrainState, int, np.ndarray], Metrics],
    on_dispatch: Callable[[int, TrainState], None] = lambda _step, _state: None,
    on_evaluation: Callable[[Evaluation, TrainState], None] = lambda _evaluation, _state: None,
) -> tuple[TrainState, list[Evaluation]]:
    """Train from `first_step` to `steps`, evaluating at every multiple of `evaluate_every` and at the end.

    Args:
        problem: what to train.
        state: as from `init_state`, or restored from a checkpoint at `first_step`.
        data: any pytree of arrays on the device, shared by the seeds.
        batches: `(first, count) -> [seeds, count, batch]` indices of the examples of those steps.
        first_step: the steps already done.
        steps: the steps to have done at the end.
        evaluate_every: steps between evaluations.
        evaluate: `(state, step, indices of the last batch [seeds, batch]) -> metrics`.
        on_dispatch: called after every dispatch, and its evaluation if there is one; may end the training by raising.
        on_evaluation: called after every evaluation, with the state to save.

    Returns:
        The state and the evaluations made here.
    """
    run = compile_steps(problem)
    history = []
    step = first_step
    while step < steps:
        goal = min(steps, step - step % evaluate_every + evaluate_every)
        while step < goal:
            count = min(goal - step, STEPS_PER_DISPATCH)
            indices = batches(step, count)
            # Always the same shape, so that a shorter last dispatch does not compile anew.
            padded = np.pad(indices, ((0, 0), (0, STEPS_PER_DISPATCH - count), (0, 0)))
            state = run(data, count, state, padded)
            step += count
            if step < goal:
                on_dispatch(step, state)
        evaluation = Evaluation(step, evaluate(state, step, indices[:, -1]))
        history.append(evaluation)
        on_evaluation(evaluation, state)
        on_dispatch(step, state)
    return state, history


def mean_score(
    score: Callable[[TrainState, Pytree, jax.Array], dict[str, jax.Array]],
) -> Callable[[TrainState, Pytree, np.ndarray], Metrics]:
    """Compile the mean of a score over given examples, of which each counts exactly once.

    Args:
        score: `(state, data, indices [n]) -> {name: [n]}`, for one seed. It is given `EXAMPLES_PER_CHUNK` examples at a
            time; the last time, repeated ones fill the chunk, which do not count. Of several devices, each has chunks
            of its own.

    Returns:
        `(state, data, indices [seeds, n]) -> {name: [seeds]}`.
    """

    @for_all_seeds
    def total(data: Pytree, count: jax.Array, state: TrainState, indices: jax.Array) -> dict[str, jax.Array]:
        # [rounds, examples of a chunk], on several devices [rounds, devices, examples of a chunk].
        at_once = jax.vmap(score, (None, None, 0)) if indices.ndim == 3 else score
        in_round = np.arange(math.prod(indices.shape[1:])).reshape(indices.shape[1:])

        def add(i: jax.Array, sums: dict[str, jax.Array]) -> dict[str, jax.Array]:
            counts = i * in_round.size + in_round < count
            scores = at_once(state, data, indices[i])
            return jax.tree.map(lambda total, values: total + jnp.where(counts, values, 0).sum(-1), sums, scores)

        shapes = jax.eval_shape(at_once, state, data, indices[0])
        rounds = (count + in_round.size - 1) // in_round.size
        zeros = jax.tree.map(lambda value: jnp.zeros(value.shape[:-1], value.dtype), shapes)
        return jax.lax.fori_loop(0, rounds, add, zeros)

    def mean(state: TrainState, data: Pytree, indices: np.ndarray) -> Metrics:
        seeds, examples = indices.shape
        mesh = mesh_of(data)
        devices = (mesh.size,) if mesh else ()
        rounds = -(-CHUNKS_PER_DISPATCH // math.prod(devices))
        shape = (rounds, *devices, EXAMPLES_PER_CHUNK)
        dispatch = math.prod(shape)
        sums: Metrics = {}
        for first in range(0, examples, dispatch):
            part = indices[:, first : first + dispatch]
            count = part.shape[1]
            # Always the same shape, so that it is compiled once for all.
            part = np.pad(part, ((0, 0), (0, dispatch - count)), mode="edge").reshape(seeds, *shape)
            for name, value in fetch(total(data, count, state, part)).items():
                sums[name] = sums.get(name, 0) + value.astype(np.float64).reshape(seeds, -1).sum(1)
        return {name: value / examples for name, value in sums.items()}

    return mean


def compile_steps(problem: Problem) -> Callable[[Pytree, int, TrainState, np.ndarray], TrainState]:
    """`(data, count, state, indices [seeds, n, batch]) -> state` after the first `count` of the `n` batches."""
    step = make_step(problem)

    @for_all_seeds
    def steps(data: Pytree, count: jax.Array, state: TrainState, indices: jax.Array) -> TrainState:
        return jax.lax.fori_loop(0, count, lambda i, state: step(data, state, indices[i]), state)

    return steps


def make_start(problem: Problem) -> Callable[[jax.Array], TrainState]:
    """`key -> state` of one seed."""

    def start(key: jax.Array) -> TrainState:
        params, extras = problem.init(key)
        return TrainState(params, extras, problem.optimizer.init(params))

    return start


def make_step(problem: Problem) -> Callable[[Pytree, TrainState, jax.Array], TrainState]:
    """`(data, state, indices [batch]) -> state`, one step of one seed."""

    def step(data: Pytree, state: TrainState, indices: jax.Array) -> TrainState:
        gradient, extras = jax.grad(problem.loss, has_aux=True)(state.params, state.extras, data, indices)
        updates, optimizer = problem.optimizer.update(gradient, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), extras, optimizer)

    return step
