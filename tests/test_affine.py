"""An inverse root right to its last digits, which has derivatives wherever it has a value."""

import decimal
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._affine import _inverse_root
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

root = jax.jit(_inverse_root)


def units_off(got, expected):
    """Of the last place of the result."""
    return np.max(np.abs(np.asarray(got, "float64") - expected) / np.spacing(expected.astype(got.dtype)))


@pytest.mark.parametrize("lowest", [-80, -1, 79])
def test_an_inverse_root_is_off_by_less_than_two_of_its_last_digit(lowest):
    # XLA's is as good as the processor's estimate: 1.0 on an Intel Xeon, 1.7 on an AMD EPYC. NumPy's is off by 1.5.
    x = np.exp(np.linspace(lowest, 80, 2**18)).astype("float32")
    assert units_off(root(x), 1 / np.sqrt(x.astype("float64"))) < 2


def test_an_inverse_root_in_double_precision():
    x = np.exp(np.linspace(-600, 600, 1000))
    with jax.enable_x64(True):
        y = np.asarray(root(x))
    with decimal.localcontext(prec=40):
        pairs = [map(decimal.Decimal, pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
        off = np.array([float(y * x.sqrt() - 1) for x, y in pairs])
    assert np.max(np.abs(off) * y / np.spacing(y)) < 2


@pytest.mark.parametrize("x", [2e-38, 1e-30, 1.0, 1e30, 1e38, 3e38])
def test_an_inverse_root_anywhere(x):
    np.testing.assert_allclose(root(x), x**-0.5, rtol=TOLERANCE["float32"])


def test_equal_values_have_no_scale():
    assert root(0.0) == 0
    assert jax.grad(root)(0.0) == 0


@pytest.mark.parametrize(("order", "expected"), [(1, -0.5), (2, 0.25), (3, -0.125)])
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_an_inverse_root(outer, order, expected):
    """Of `1 / sqrt(x * exp(t))` by `t`, where neither `1 / x**2` nor `1 / sqrt(x)**3` need be a number."""

    def function(t, x, scale):
        return _inverse_root(x * jnp.exp(t)) * scale

    derivative = jax.jit(functools.reduce(lambda f, _: outer(f), range(order), function))
    sizes = np.float64([1e-30, 1e-25, 1e-12, 1, 1e12, 1e19, 1e25, 1e30, 1e37])
    got = [derivative(0.0, np.float32(x), np.float32(np.sqrt(x))) for x in sizes]
    np.testing.assert_allclose(got, np.full(len(sizes), expected), rtol=1e-5)


@jax.jit
@jax.grad
def slope(x, dy):
    return jnp.sum(dy * batch_norm(*init_batch_norm(3), x, True, epsilon=0.0)[0])


@pytest.mark.parametrize("scale", [1e-15, 1e-12, 1e-6, 1e6, 1e12, 1e13, 1e15])
def test_batch_norm_is_differentiable_at_any_scale(scale):
    x, dy = (noise(8, 3, seed=s) for s in (0, 1))
    x *= np.float32(scale)
    expected = reference.gradient(x, dy, 1.0, epsilon=0.0)[0]
    assert_close(slope(x, dy) * scale, expected * scale, GRADIENT["float32"])
