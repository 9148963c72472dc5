"""The traps of Haiku's and Equinox's batch norms, one test for each: none of them is here."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxbn import batch_norm, init_batch_norm
from jaxbn.linen import BatchNorm
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)


def noise(*shape, mean=0.0, std=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * std + mean).astype("float32")


def test_haiku_1_a_negative_variance_gives_nan():
    for seed in range(40):
        y, state = batch_norm(PARAMS, STATE, noise(257, 3, mean=3e4, std=0.1, seed=seed), True)
        assert np.all(np.isfinite(y))
        assert np.all(np.asarray(state.var) >= 0)


@pytest.mark.parametrize("value", [257, 6e4])
def test_haiku_2_float16_squares_overflow(value):
    x = (noise(64, 3) * value / 4).clip(-value, value).astype("float16")
    y, state = batch_norm(PARAMS, STATE, x, True)
    np.testing.assert_allclose(np.asarray(y, "float32"), reference.batch_norm(x), atol=4e-3)
    assert np.all(np.isfinite(state.var))


def test_haiku_3_a_decay_of_0999_is_1_in_bfloat16():
    params, state = init_batch_norm(3, dtype=jnp.bfloat16)
    _, state = batch_norm(params, state, jnp.ones((4, 3), jnp.bfloat16), True, momentum=0.999)
    np.testing.assert_allclose(state.mean, 0.001, rtol=1e-5)


def initial_stats(x, *, train, **kwargs):
    return BatchNorm(use_running_average=not train, **kwargs).init(jax.random.key(0), x)["batch_stats"]


def test_haiku_4_there_is_no_state_before_training():
    x = noise(4, 3)
    assert_close(batch_norm(PARAMS, STATE, x, False), (reference.normalize(x, 0, 1), *STATE), TOLERANCE["float32"])
    assert_same(initial_stats(x, train=False), {"mean": STATE.mean, "var": STATE.var})


@pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
def test_haiku_5_initial_statistics_are_those_of_the_data(averaging):
    stats = initial_stats(noise(4, 3, mean=5.0), train=True, averaging=averaging)
    assert_same((stats["mean"], stats["var"]), (STATE.mean, STATE.var))
    assert stats.get("count", 0) == 0


def test_haiku_6_initialisation_and_evaluation_need_the_mapped_axis():
    x = noise(4, 3)
    assert_same(initial_stats(x, train=True, axis_name="nowhere"), {"mean": STATE.mean, "var": STATE.var})
    y = batch_norm(PARAMS, STATE, x, False, axis_name="nowhere")[0]
    assert_close(y, reference.normalize(x, 0, 1), TOLERANCE["float32"])


def test_haiku_7_a_negative_axis_changes_the_shape_of_the_parameters():
    x = noise(4, 3, 5)
    for axis in (1, -2):
        y, state = batch_norm(PARAMS, STATE, x, True, axis=axis)
        np.testing.assert_allclose(y, reference.batch_norm(x, axis=1), atol=5e-6)
        assert state.mean.shape == (3,)


def test_haiku_8_the_complex_variance_is_complex():
    params, state = init_batch_norm(1, dtype="complex64")
    x = np.array([[1 + 1j], [-1 - 1j]], "complex64")
    state = batch_norm(params, state, x, True, momentum=0.0)[1]
    assert state.var.dtype == jnp.float32
    np.testing.assert_allclose(state.var, [2.0])


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_haiku_8_devices_wait_for_each_other_twice(dtype):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    one = functools.partial(batch_norm, *init_batch_norm(3, dtype=dtype), train=True, axis_name="i")
    out_specs = (PartitionSpec("i"), PartitionSpec())
    step = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=PartitionSpec("i"), out_specs=out_specs))
    program = step.lower(noise(8, 3).astype(dtype)).as_text()
    assert len(re.findall(r"stablehlo\.(all_|reduce_scatter|collective_)", program)) == 1


@pytest.mark.parametrize("steps", [1, 10, 100, 500])
@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_equinox_1_debiasing_multiplies_the_initial_variance(steps, averaging):
    x, state = noise(64, 3, std=2.0), STATE
    step = jax.jit(lambda state: batch_norm(PARAMS, state, x, True, averaging=averaging)[1])
    for _ in range(steps):
        state = step(state)
    np.testing.assert_allclose(state.var, x.astype("float64").var(0), rtol=1e-4)


def test_equinox_2_an_untrained_layer_divides_by_0():
    x = noise(4, 3)
    np.testing.assert_allclose(batch_norm(PARAMS, STATE, x, False)[0], x, rtol=1e-5)


def test_equinox_2_training_normalises_with_the_running_statistics():
    x = noise(64, 3, mean=5.0, std=3.0)
    np.testing.assert_allclose(batch_norm(PARAMS, STATE, x, True)[0], reference.batch_norm(x), atol=5e-6)


def test_equinox_2_training_scales_the_gradients_by_the_momentum():
    x, dy = noise(6, 3), noise(6, 3, seed=1)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * batch_norm(PARAMS, STATE, x, True, momentum=0.999)[0])))(x)
    assert_close(dx, reference.gradient(x, dy, 1.0)[0], GRADIENT["float32"])


@pytest.mark.parametrize(("ddof", "scale"), [(0, 1.0), (1, 4 / 3)])
def test_equinox_3_the_variance_is_not_the_one_that_is_documented(ddof, scale):
    x = noise(4, 3)
    state = batch_norm(PARAMS, STATE, x, True, momentum=0.0, ddof=ddof)[1]
    np.testing.assert_allclose(state.var, x.astype("float64").var(0) * scale, rtol=1e-6)


def test_equinox_4_float16_gives_only_zeros():
    x = noise(256, 3, mean=300).astype("float16")
    y = np.asarray(batch_norm(PARAMS, STATE, x, True)[0], "float32")
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-2)


def test_equinox_5_old_states_are_invalidated():
    x = noise(4, 3)
    first = batch_norm(PARAMS, STATE, x, True)[1]
    again = batch_norm(PARAMS, STATE, x, True)[1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_equinox_5_a_state_with_a_batch_axis_goes_unnoticed():
    def step(state, x):
        return jax.jit(jax.vmap(lambda x: batch_norm(PARAMS, state, x, True, axis_name="i"), axis_name="i"))(x)

    _, state = step(STATE, noise(4, 2, 3))
    with pytest.raises(ValueError, match=r"`state.mean` must have the shape \(3,\) .* got \(4, 3\)"):
        step(state, noise(4, 2, 3))


def test_equinox_6_a_single_example_needs_a_vmap():
    assert_close(batch_norm(PARAMS, STATE, noise(3), False)[0], reference.normalize(noise(3), 0, 1))


def test_equinox_6_an_empty_batch_poisons_the_state():
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, axis_name="i")
    y, state = jax.jit(jax.vmap(one, axis_name="i", out_axes=(0, None)))(np.zeros((4, 0, 3), "float32"))
    assert y.shape == (4, 0, 3)
    assert_same(state, STATE)
