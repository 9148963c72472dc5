"""The momentum of a debiased average, from its definition in float64, and the average that it leads to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn.interop import debiased_momentum
from tests.data import noise
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow


def exact(decay, count):
    """With the decay rounded as the frameworks round it."""
    decay = np.longdouble(np.float32(decay))
    return decay * np.sum(decay ** np.arange(count)) / np.sum(decay ** np.arange(count + 1))


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999])
def test_is_the_definition(decay):
    counts = [0, 1, 2, 3, 10, 100, 1000, 100_000]
    got = [debiased_momentum(decay, jnp.int32(t)) for t in counts]
    assert all(m.dtype == jnp.float32 and m.shape == () for m in got)
    np.testing.assert_allclose(got, [float(exact(decay, t)) for t in counts], rtol=5e-7)


def test_the_first_batch_has_all_the_weight_and_the_limit_is_the_decay():
    assert debiased_momentum(0.99, 0) == 0
    assert debiased_momentum(0.99, 2**31 - 1) == jnp.float32(0.99)


def test_many_counts_at_once_traced_and_strongly_typed():
    counts = jnp.arange(5)
    each = jnp.stack([debiased_momentum(0.9, t) for t in counts])
    assert_close(jax.jit(debiased_momentum)(jnp.float32(0.9), counts), each, 1e-7)
    assert_close(jax.vmap(functools.partial(debiased_momentum, 0.9))(counts), each, 1e-7)


def test_nothing_is_nan_on_the_way():
    with jax.debug_nans(True):
        assert debiased_momentum(0.0, 0) == debiased_momentum(0.0, 3) == 0


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.999])
def test_training_with_it_is_the_debiased_average(decay):
    x = noise(30, 8, 3, mean=5, std=2)
    params, state = init_batch_norm(3, mean_init=lambda *_: jnp.full(3, 1e3))

    def body(state, x):
        return batch_norm(params, state, x, True, momentum=debiased_momentum(decay, state.count))[1], None

    state, _ = jax.lax.scan(body, state, x)
    weights = float(np.float32(decay)) ** np.arange(30)[::-1]
    expected = [weights @ part / weights.sum() for part in (x.astype("float64").mean(1), x.astype("float64").var(1))]
    assert_close(state[:2], expected, 1e-6)
    assert state.count == 30


def test_counts_in_float64():
    with jax.enable_x64(True):
        m = debiased_momentum(0.999, jnp.int32(7))
        assert m.dtype == jnp.float64
        np.testing.assert_allclose(m, 0.999 * (1 - 0.999**7) / (1 - 0.999**8), rtol=1e-12)
