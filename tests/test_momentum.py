"""Momentum is the weight of the old value, in every precision and preset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm, presets
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)


@pytest.mark.parametrize("momentum", [0.0, 0.75, 1.0])
def test_momentum_is_the_weight_of_the_old_value(momentum):
    x, old = noise(4, 3, mean=5.0, std=2.0), STATE._replace(mean=jnp.full(3, 1.0), var=jnp.full(3, 9.0))
    state = batch_norm(PARAMS, old, x, True, momentum=momentum)[1]
    double = x.astype("float64")
    assert_close(state.mean, momentum * 1 + (1 - momentum) * double.mean(0), TOLERANCE["float32"])
    assert_close(state.var, momentum * 9 + (1 - momentum) * double.var(0), TOLERANCE["float32"])


def test_the_preset_of_torch_weighs_the_new_value_by_a_tenth():
    x, old = noise(5, 3, mean=7.0), STATE._replace(mean=jnp.full(3, 2.0), var=jnp.full(3, 3.0))
    state = batch_norm(PARAMS, old, x, True, **presets.TORCH)[1]
    double = x.astype("float64")
    assert_close(state.mean, 0.9 * 2 + 0.1 * double.mean(0), TOLERANCE["float32"])
    assert_close(state.var, 0.9 * 3 + 0.1 * double.var(0, ddof=1), TOLERANCE["float32"])


def test_the_preset_of_slim_needs_nothing_run_besides():
    """TF-Slim loses its updates unless the caller runs them; here they are in the state that is returned."""
    x = noise(4, 3, mean=5.0)
    state = jax.jit(lambda state: batch_norm(PARAMS, state, x, True, **presets.SLIM)[1])(STATE)
    assert_close(state, reference.running(*STATE, [reference.moments(x)], 0.999, ddof=1), TOLERANCE["float32"])


def test_a_momentum_of_1_freezes_the_statistics_and_not_the_normalisation():
    x = noise(8, 3, mean=5.0)
    y, state = batch_norm(PARAMS, STATE, x, True, momentum=1.0)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    assert_same((state.mean, state.var), (STATE.mean, STATE.var))


def test_a_momentum_that_bfloat16_would_round_to_1_is_kept():
    params, state = init_batch_norm(3, dtype=jnp.bfloat16)
    _, state = batch_norm(params, state, jnp.ones((4, 3), jnp.bfloat16), True, momentum=0.999)
    np.testing.assert_allclose(state.mean, 0.001, rtol=1e-5)


def test_a_running_mean_of_bfloat16_data_gets_to_its_limit():
    params, state = init_batch_norm(3, dtype=jnp.bfloat16)
    x = jnp.full((4, 3), 3.03, jnp.bfloat16)
    step = jax.jit(lambda state: batch_norm(params, state, x, True, momentum=0.999)[1])
    for _ in range(3000):
        state = step(state)
    np.testing.assert_allclose(state.mean, float(x[0, 0]) * (1 - 0.999**3000), rtol=1e-3)
