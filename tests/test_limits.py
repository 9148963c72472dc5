"""At the ends of what float32 holds, and of what the arguments allow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, Moments, batch_norm, init_batch_norm, sync_moments
from tests.data import noise

pytestmark = pytest.mark.optimized

PARAMS, STATE = init_batch_norm(3)


@pytest.mark.parametrize("size", [1e20, 1e30])
def test_squares_that_overflow_make_an_infinite_variance_and_no_nan(size):
    y, state = jax.jit(lambda x: batch_norm(PARAMS, STATE, x, True))(noise(8, 3) * np.float32(size))
    assert np.all(np.asarray(y) == 0)
    assert np.all(np.isposinf(state.var))
    assert np.all(np.isfinite(state.mean))


def test_a_member_without_data_makes_no_nan_where_squares_overflow():
    apart = Moments(jnp.asarray([2.0, 2.0, 0.0]), jnp.asarray([1e25, -1e25, 0.0]), jnp.zeros(3))
    whole = jax.jit(jax.vmap(lambda m: sync_moments(m, "i"), axis_name="i", out_axes=None))(apart)
    assert whole == (4, 0, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("x", [noise(1, 3), np.full((5, 3), 7, "float32")])
@pytest.mark.parametrize("epsilon", [0.0, 1e-46])
def test_without_epsilon_equal_values_give_bias(x, epsilon):
    params = BatchNormParams(jnp.ones(3), jnp.arange(3.0))
    y = batch_norm(params, STATE, x, True, epsilon=epsilon)[0]
    assert np.array_equal(y, np.broadcast_to(np.arange(3.0), x.shape))
    # By the formula 0: the gradient of `y` is the same for all examples, and they do not deviate from their mean.
    dx = jax.grad(lambda x: jnp.sum(batch_norm(params, STATE, x, True, epsilon=epsilon)[0] ** 2))(x)
    assert np.array_equal(dx, np.zeros_like(x))


def test_a_weight_is_0_everywhere_or_nowhere():
    with jax.enable_x64(True):
        y, state = batch_norm(PARAMS, STATE, noise(4, 3), True, mask=np.full((4, 1), 1e-60))
    assert np.all(np.asarray(y) == 0)
    assert np.array_equal(state.mean, STATE.mean)
