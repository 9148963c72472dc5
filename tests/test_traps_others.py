"""The traps of TF-Slim's, Detectron2's and lesser known batch norms, one test for each: none of them is here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormState, batch_norm, init_batch_norm, presets, update_state
from jaxbn.linen import BatchNorm
from tests import reference
from tests.tolerances import TOLERANCE, assert_close

PARAMS, STATE = init_batch_norm(3)


def noise(*shape, mean=0.0, std=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * std + mean).astype("float32")


def members(x, mask=None, **kwargs):
    """`batch_norm` of `[members, rows, features]` that share a batch, and the state that all of them have."""
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, momentum=0.0, axis_name="i", **kwargs)
    return jax.jit(jax.vmap(lambda x, mask: one(x, mask=mask), axis_name="i", out_axes=(0, None)))(x, mask)


def test_slim_updates_are_lost_unless_they_are_run():
    x = noise(4, 3, mean=5.0)
    state = jax.jit(lambda state: batch_norm(PARAMS, state, x, True, **presets.SLIM)[1])(STATE)
    assert_close(state, reference.running(*STATE, [reference.moments(x)], 0.999, ddof=1), TOLERANCE["float32"])


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_slim_the_initial_mean_is_forgotten_but_not_the_variance(averaging):
    x = noise(8, 3, mean=5.0, std=3.0)
    moments, state = reference.moments(x), batch_norm(PARAMS, STATE, x, True, momentum=0.999, averaging=averaging)[1]
    assert_close((state.mean, state.var), (moments.mean, reference.variance(moments)), 1e-6)


def test_slim_a_traced_is_training():
    x = noise(4, 3, mean=5.0)
    y, state = jax.jit(jax.vmap(lambda train: batch_norm(PARAMS, STATE, x, train)))(np.array([True, False]))
    assert_close(y, np.stack([reference.batch_norm(x), reference.normalize(x, 0, 1)]), TOLERANCE["float32"])
    assert np.array_equal(state.count, [1, 0])
    assert np.array_equal(state.mean[1], STATE.mean)


@pytest.mark.parametrize("ddof", [0, 1])
def test_slim_the_code_path_decides_how_the_variance_is_estimated(ddof):
    x = noise(2, 2, 4, 3)
    one = functools.partial(batch_norm, PARAMS, STATE, momentum=0.0, ddof=ddof)
    flat = jax.jit(lambda x: one(x, True))(x.reshape(16, 3))[1]
    masked = jax.jit(lambda x, mask: one(x, True, mask=mask))(x, np.ones((2, 2, 4, 1), bool))[1]
    traced = jax.jit(lambda x, train: one(x, train, axis=1))(np.moveaxis(x, -1, 1), True)[1]
    spread = members(x.reshape(4, 4, 3), ddof=ddof)[1]
    expected = reference.running(*STATE, [reference.moments(x)], 0.0, ddof=ddof)
    for state in (flat, masked, traced, spread):
        assert_close(state, expected, TOLERANCE["float32"])


def test_detectron2_members_are_weighted_by_images_and_not_by_values():
    x, mask = noise(2, 6, 3), np.arange(6) < np.array([[1], [6]])
    x[1] += 10
    y, state = members(x, mask[..., None])
    together = reference.moments(x[mask])
    assert_close(y[mask], reference.batch_norm(x[mask]), TOLERANCE["float32"])
    assert_close((state.mean, state.var), (together.mean, reference.variance(together)), TOLERANCE["float32"])


def test_detectron2_and_init2winit_a_variance_below_0_is_not_clamped():
    x = np.full((2, 5, 3), np.float32(1e4 + 0.1))
    y, state = members(x)
    assert not np.any(y)
    assert not np.any(state.var)


def test_detectron2_a_fresh_layer_is_the_identity_only_if_epsilon_is_in_its_variance():
    epsilon = presets.KERAS["epsilon"]
    x, fresh = noise(8, 3), init_batch_norm(3, var_init=jax.nn.initializers.constant(1 - epsilon))
    assert_close(batch_norm(*fresh, x, False, epsilon=epsilon)[0], x, 2**-23)


def test_fvcore_the_local_batch_size_corrects_the_variance_of_all():
    x = noise(4, 2, 3)
    assert_close(members(x, ddof=1)[1].var, x.astype("float64").var((0, 1), ddof=1), TOLERANCE["float32"])


@pytest.mark.parametrize("function", [batch_norm, update_state, BatchNorm])
def test_inplace_abn_the_documented_momentum_is_that_of_the_new_value(function):
    assert "weight of the old" in function.__doc__.lower() or "of the old running value" in function.__doc__.lower()


@pytest.mark.parametrize(("momentum", "mean"), [(0.0, 5.0), (0.75, 2.0), (1.0, 1.0)])
def test_inplace_abn_momentum_weighs_the_new_value(momentum, mean):
    state = batch_norm(PARAMS, STATE._replace(mean=jnp.ones(3)), jnp.full((4, 3), 5.0), True, momentum=momentum)[1]
    assert np.array_equal(state.mean, np.full(3, mean))


def test_init2winit_double_precision_is_lost_and_the_state_has_more_entries():
    assert BatchNormState._fields == ("mean", "var", "count")
    with jax.enable_x64(True):
        x = noise(6, 3).astype("float64") + 1e-9
        y, state = batch_norm(*init_batch_norm(3, dtype="float64"), x, True)
        assert_close(y, reference.batch_norm(x), TOLERANCE["float64"])
        assert [part.dtype for part in state] == ["float64", "float64", "int32"]
