"""With a preset, training is that of the framework: the numbers it documents, and fifty steps of its own layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import BatchNormParams, batch_norm, init_batch_norm, presets
from tests.record_presets import BIAS, PEERS, RATE, SCALE, STEPS, Trajectory, batches, live, loss, recorded
from tests.tolerances import TOLERANCE, assert_close

X = jnp.asarray([[2.0], [4.0], [6.0], [12.0]])  # mean 6, variance 56/4 = 14, unbiased 56/3
# The weight of the new batch, the variance it brings, and epsilon.
DOCUMENTED = {
    "FLAX": (0.01, 14, 1e-5),  # BatchNorm(momentum=0.99, epsilon=1e-5)
    "TORCH": (0.1, 56 / 3, 1e-5),  # BatchNorm1d(momentum=0.1, eps=1e-5), the weight of the new batch
    "KERAS": (0.01, 14, 1e-3),  # BatchNormalization(momentum=0.99, epsilon=1e-3)
    "SLIM": (0.001, 56 / 3, 1e-3),  # batch_norm(decay=0.999, epsilon=1e-3, fused=None)
    "TUTORIAL": (0.9, 14, 1e-5),  # decay 0.1, the weight of the old value
}
every_preset = pytest.mark.parametrize("name", DOCUMENTED)


@functools.cache
def ours(name):
    """The trajectory of `batch_norm`, with the feature axis where PyTorch has it."""
    axis = -3 if name == "TORCH" else -1
    start = {"SLIM": {"use_scale": False}, "TUTORIAL": {"var_init": initializers.zeros}}.get(name, {})
    params, state = init_batch_norm(3, **start)
    params = BatchNormParams(None if params.scale is None else jnp.asarray(SCALE), jnp.asarray(BIAS))
    norm = functools.partial(batch_norm, axis=axis, **getattr(presets, name))
    x, targets = (np.moveaxis(v, -1, axis) for v in batches())

    def step(carry, batch):
        params, state = carry

        def objective(params):
            y, new = norm(params, state, batch[0], True)
            return loss(y, batch[1]), (y, new)

        gradient, (y, state) = jax.grad(objective, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
        return (params, state), (y, params, state)

    @jax.jit
    def train(params, state):
        (params, state), history = jax.lax.scan(step, (params, state), (x[:-1], targets[:-1]))
        return history, norm(params, state, x[-1], False)[0]

    (y, params, state), evaluated = train(params, state)
    scale = np.ones([STEPS, 3]) if params.scale is None else params.scale
    parts = np.moveaxis(y, axis, -1), scale, params.bias, state.mean, state.var, np.moveaxis(evaluated, axis, -1)
    return Trajectory(*map(np.asarray, parts))


def assert_digits(actual, expected, digits=1e-6):
    """Every array, relative to its own largest value."""
    sizes = [np.max(np.abs(e)) for e in expected]
    assert_close(*([v / s for v, s in zip(side, sizes, strict=True)] for side in (actual, expected)), digits)


def test_every_preset_is_here():
    assert {name for name in vars(presets) if name.isupper()} == set(DOCUMENTED) == set(PEERS)


@every_preset
def test_numbers(name):
    new, variance, epsilon = DOCUMENTED[name]
    y, state = batch_norm(*init_batch_norm(1), X, True, **getattr(presets, name))
    assert_close(y, (np.asarray(X) - 6) / np.sqrt(14 + epsilon), TOLERANCE["float32"])
    expected = (np.array([6 * new]), np.array([1 - new + variance * new]), 1)
    assert_close(state, expected, TOLERANCE["float32"])


@pytest.mark.slow
@every_preset
def test_fifty_steps_end_where_the_framework_was_recorded(name):
    assert_digits(ours(name).end(), recorded(name))


@pytest.mark.slow
@every_preset
def test_fifty_steps_are_those_of_the_framework_one_by_one(name):
    try:
        theirs = live(name)
    except ImportError as error:
        pytest.skip(str(error))
    assert_digits(ours(name), theirs)
