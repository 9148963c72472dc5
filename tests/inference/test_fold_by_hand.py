"""Pairs that are folded by hand, and the norm as one product and one sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbn import BatchNormParams, BatchNormState, batch_norm
from jaxbn.inference import fold_conv, fold_dense, to_affine
from tests import reference
from tests.inference.nets_fold import norm_variables, numbers
from tests.tolerances import assert_close


def parts(features, dtype="float32", *, scale=True, bias=True):
    v = norm_variables(features, dtype=dtype)
    params = BatchNormParams(jnp.asarray(v["scale"]) if scale else None, jnp.asarray(v["bias"]) if bias else None)
    return params, BatchNormState(jnp.asarray(v["mean"]), jnp.asarray(v["var"]), jnp.int32(3))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_to_affine(scale, bias):
    params, state = parts(4, scale=scale, bias=bias)
    multiplier, shift = to_affine(params, state, epsilon=1e-3)
    x, own = numbers(5, 4), (params.scale if scale else 1, params.bias if bias else 0)
    expected = reference.normalize(x, state.mean, state.var, *own, epsilon=1e-3)
    assert_close(x * multiplier[None] + shift[None], np.asarray(expected, "float32"))
    assert_close(batch_norm(params, state, x, False, epsilon=1e-3)[0], np.asarray(expected, "float32"))


def test_to_affine_of_several_feature_axes_and_of_no_variance():
    params = BatchNormParams(None, None)
    state = BatchNormState(jnp.full((2, 3), 2.0), jnp.zeros((2, 3)), jnp.int32(0))
    multiplier, shift = to_affine(params, state, epsilon=0.0)
    assert_close((multiplier, shift), (np.zeros((2, 3)), np.zeros((2, 3))), tolerance=0)


def test_to_affine_of_complex_statistics():
    params = BatchNormParams(jnp.asarray([2 + 1j]), jnp.asarray([1j]))
    state = BatchNormState(jnp.asarray([1 - 1j]), jnp.asarray([4.0]), jnp.int32(0))
    multiplier, shift = to_affine(params, state)
    x = (numbers(3, 1) + 1j).astype("complex64")
    assert_close(x * multiplier[None] + shift[None], batch_norm(params, state, x, False)[0])


@pytest.mark.slow
def test_to_affine_under_jit_and_vmap():
    params, state = parts(4)
    assert_close(jax.jit(to_affine)(params, state), to_affine(params, state))
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), (params, state))
    assert_close(jax.vmap(to_affine)(*stacked)[0][1], to_affine(params, state)[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", [-1, 0])
def test_fold_dense(bias, axis):
    params, state = parts(6)
    kernel, given = numbers(*((4, 6) if axis == -1 else (6, 4))), numbers(6, seed=2) if bias else None
    made, new = fold_dense(kernel, given, params, state, axis=axis)
    apply = (lambda x, k: x @ k) if axis == -1 else (lambda x, k: x @ k.T)
    x = numbers(5, 4, seed=3)
    y = apply(x, kernel) + (0 if given is None else given)
    assert_close(apply(x, made) + new[None], batch_norm(params, state, y, False)[0])


@pytest.mark.parametrize(
    ("shape", "axis", "layout", "options"),
    [
        ((3, 3, 4, 6), -1, ("NHWC", "HWIO", "NHWC"), {}),
        ((3, 3, 2, 6), -1, ("NHWC", "HWIO", "NHWC"), {"feature_group_count": 2, "rhs_dilation": (2, 2)}),
        ((6, 4, 3, 3), 0, ("NHWC", "OIHW", "NHWC"), {}),
        ((4, 6, 3, 3), 1, ("NHWC", "IOHW", "NHWC"), {"lhs_dilation": (2, 2)}),
    ],
)
def test_fold_conv(shape, axis, layout, options):
    params, state = parts(6)
    kernel, bias, x = numbers(*shape), numbers(6, seed=2), numbers(2, 8, 8, 4, seed=3)

    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (2, 1)), dimension_numbers=layout, **options)

    made, new = fold_conv(kernel, bias, params, state, axis=axis, epsilon=1e-3)
    y, _ = batch_norm(params, state, conv(x, kernel) + bias.reshape(1, 1, 1, -1), False, epsilon=1e-3)
    assert_close(conv(x, made) + new.reshape(1, 1, 1, -1), y)


def test_half_precision_is_folded_in_single_and_rounded_once():
    params, state = parts(6)
    kernel = jnp.asarray(numbers(4, 6), "bfloat16")
    made, bias = fold_dense(kernel, None, params, state)
    multiplier, shift = to_affine(params, state)
    assert_close(made, (kernel.astype("float32") * multiplier[None]).astype("bfloat16"), tolerance=0)
    assert_close(bias, shift.astype("bfloat16"), tolerance=4e-3)


def test_a_bias_of_the_size_of_the_mean_loses_no_digits():
    params = BatchNormParams(None, None)
    state = BatchNormState(jnp.asarray([1e6 + 0.5]), jnp.asarray([1.0]), jnp.int32(0))
    _, bias = fold_dense(jnp.ones((1, 1)), jnp.asarray([1e6]), params, state, epsilon=0.0)
    assert_close(bias, np.float32([-0.5]), tolerance=0)


@pytest.mark.slow
def test_double_precision():
    with jax.enable_x64(True):
        params, state = parts(4, "float64")
        made, bias = fold_dense(numbers(3, 4, dtype=float), None, params, state)
        assert made.dtype == bias.dtype == "float64"
        x = numbers(5, 3, dtype=float)
        y, _ = batch_norm(params, state, x @ numbers(3, 4, dtype=float), False)
        assert_close(x @ made + bias[None], y, tolerance=1e-13)
