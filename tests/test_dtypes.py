"""Half, single and double precision, real and complex: the output has the dtype of `x`, the state its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import BatchNormParams, BatchNormState, batch_norm, init_batch_norm
from jaxbn.linen import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)
norm = jax.jit(batch_norm, static_argnames="train")
half = functools.partial(jax.tree.map, lambda v: v.astype("bfloat16") if v.dtype == "float32" else v)


def test_the_dtype_of_the_state_never_drifts():
    with jax.enable_x64(True):
        wide = batch_norm(PARAMS, STATE, np.ones((4, 3)), True)[1]
    params, state = init_batch_norm(3, dtype="complex64")
    turned = batch_norm(params, state, noise(4, 3) * (1 + 1j), True)[1]
    assert [part.dtype for part in wide] == [part.dtype for part in STATE]
    assert [part.dtype for part in turned] == [part.dtype for part in state]


def test_bfloat16_comes_out_as_bfloat16():
    x = noise(4, 3, mean=3, dtype="bfloat16")
    by_layer, _ = BatchNorm(use_running_average=False).init_with_output(jax.random.key(0), x)
    for y in (batch_norm(PARAMS, STATE, x, True)[0], by_layer):
        assert y.dtype == jnp.bfloat16
        assert_close(y, reference.batch_norm(x), TOLERANCE["bfloat16"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("train", [True, False])
def test_a_number_of_python_widens_nothing(train, dtype):
    """NumPy arrays, as they come back from a device, and an epsilon that no half precision holds exactly."""
    x = np.linspace(-3, 5, 12).reshape(4, 3).astype(jnp.dtype(dtype))
    params, state = jax.device_get(init_batch_norm(3, dtype=dtype))
    y, new = norm(params, state, x, train, epsilon=0.1)
    wide = x.astype("float64")
    expected = reference.batch_norm(wide, epsilon=0.1) if train else reference.normalize(wide, 0, 1, epsilon=0.1)
    assert y.dtype == dtype
    assert [part.dtype for part in new] == ["float32", "float32", "int32"]
    assert_close(y, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_in_half_precision_has_statistics_in_single(dtype):
    (params, state), x = init_batch_norm(3, dtype=dtype), noise(4, 3, mean=3, dtype=dtype)
    y, state = batch_norm(params, state, x, True)
    assert [y.dtype, *(part.dtype for part in (*params, *state))] == [dtype] * 3 + ["float32", "float32", "int32"]
    assert_close(y, reference.batch_norm(x), TOLERANCE[dtype])
    assert_close(state, reference.running(*STATE, [reference.moments(x)]), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("values", ["noise", "counted"])
def test_data_in_half_precision_leaves_the_state_in_single(values, dtype):
    x = np.arange(480.0).reshape(10, 4, 4, 3) if values == "counted" else noise(10, 4, 4, 3, mean=5, std=10)
    x = x.astype(jnp.dtype(dtype))
    y, state = norm(PARAMS, STATE, x, True, momentum=0.8)
    assert [v.dtype for v in (y, state.mean, state.var)] == [dtype, "float32", "float32"]
    assert_close(y, reference.batch_norm(x), TOLERANCE[dtype])


def test_statistics_in_half_precision_evaluate_but_are_not_trained():
    halved = half(STATE)
    with pytest.raises(TypeError, match=r"`state.mean` must be at least float32 to be updated, got bfloat16"):
        batch_norm(PARAMS, halved, jnp.ones([4, 3], "bfloat16"), True)
    assert batch_norm(PARAMS, halved, jnp.ones([4, 3], "bfloat16"), False)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("halved", ["params", "state", "both"])
def test_trained_in_float32_and_evaluated_in_bfloat16(halved):
    x = noise(100, 5, mean=2, std=3)
    params = BatchNormParams(jnp.full(5, 1.3), jnp.full(5, -0.7))
    state = norm(params, init_batch_norm(5)[1], x, True, momentum=0.5)[1]
    if halved != "state":
        params = half(params)
    if halved != "params":
        state = half(state)
    y, after = norm(params, state, half(x), False)
    assert y.dtype == jnp.bfloat16
    assert_same(after, state)
    expected = reference.normalize(half(x), state.mean, state.var, params.scale, params.bias)
    assert_close(y, expected, TOLERANCE["bfloat16"])


def test_evaluation_in_bfloat16_rounds_no_statistic():
    """100.3 and 1.7 are no numbers in bfloat16."""
    state = STATE._replace(mean=jnp.full(3, 100.3), var=jnp.full(3, 1.7))
    x = jnp.tile(jnp.array([[100], [100.5], [101]], jnp.bfloat16), 3)
    y = batch_norm(PARAMS, state, x, False)[0]
    expected = (np.array([100, 100.5, 101]) - 100.3) / np.sqrt(1.7 + 1e-5)
    np.testing.assert_allclose(np.asarray(y, "float32")[:, 0], expected, rtol=2**-8)


@pytest.mark.parametrize("value", [257, 6e4])
def test_squares_beyond_float16_do_not_overflow(value):
    x = (noise(64, 3) * value / 4).clip(-value, value).astype("float16")
    y, state = batch_norm(PARAMS, STATE, x, True)
    np.testing.assert_allclose(np.asarray(y, "float32"), reference.batch_norm(x), atol=4e-3)
    assert_close(state, reference.running(*STATE, [reference.moments(x)]), TOLERANCE["float32"])


def test_a_variance_beyond_float16_is_kept():
    params, state = init_batch_norm(3, dtype="float16", var_init=initializers.constant(70000.0))
    assert np.array_equal(state.var, np.full(3, 70000, "float32"))
    x = noise(64, 3, std=400, dtype="float16")
    y, state = norm(params, state, x, True)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float16"])
    expected = reference.running(np.zeros(3), np.full(3, 7e4), 0, [reference.moments(x)])
    assert np.all(expected[1] > 65504)
    assert_close(state, expected, TOLERANCE["float32"])


def test_float16_far_from_0_is_standardised():
    x = noise(256, 3, mean=300, dtype="float16")
    assert_close(batch_norm(PARAMS, STATE, x, True)[0], reference.batch_norm(x), TOLERANCE["float16"])


def test_double_precision_stays_double_and_the_state_has_three_entries():
    assert BatchNormState._fields == ("mean", "var", "count")
    with jax.enable_x64(True):
        x = noise(6, 3).astype("float64") + 1e-9
        y, state = batch_norm(*init_batch_norm(3, dtype="float64"), x, True)
        assert_close(y, reference.batch_norm(x), TOLERANCE["float64"])
        assert [part.dtype for part in state] == ["float64", "float64", "int32"]


def test_complex_data_comes_out_complex():
    x = noise(4, 3, dtype="complex64")
    y = norm(*init_batch_norm(3, dtype="complex64"), x, True)[0]
    assert y.dtype == jnp.complex64
    assert_close(y, reference.batch_norm(x))


def test_a_complex_mean_keeps_its_imaginary_part():
    params, state = init_batch_norm(3, dtype="complex64")
    x = (noise(4, 3) + 2j).astype("complex64")
    np.testing.assert_allclose(batch_norm(params, state, x, True, momentum=0.0)[1].mean, x.mean(0), rtol=1e-6)


def test_a_complex_variance_is_real():
    params, state = init_batch_norm(1, dtype="complex64")
    x = np.array([[1 + 1j], [-1 - 1j]], "complex64")
    state = batch_norm(params, state, x, True, momentum=0.0)[1]
    assert state.var.dtype == jnp.float32
    np.testing.assert_allclose(state.var, [2.0])
