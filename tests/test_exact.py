"""A sum of squares right to its last digits, an inverse root to its last one, and the derivatives of both."""

import decimal
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._exact import rsqrt, sum_of_squares
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

# Shapes and the axes that are summed, at least 1024 values along them. The first have an axis that eight slabs share.
FOLDED = [((1024,), (0,)), ((2048, 3), (0,)), ((2, 1024), (1,)), ((32, 2, 33), (0, 2)), ((16, 8, 3, 8), (0, 1, 3))]
WHOLE = [((1031,), (0,)), ((1031, 3), (0,)), ((2, 1031), (1,)), ((37, 2, 31), (0, 2)), ((1, 1031, 2, 1), (0, 1, 3))]
every_layout = pytest.mark.parametrize(("shape", "reduced"), FOLDED + WHOLE)
FIRST, LAST = 0, -1
HUGE = float(np.finfo("float32").max)
total = jax.jit(sum_of_squares, static_argnums=1)
root = jax.jit(rsqrt)


def plain(values, reduced):
    return jnp.sum(values, reduced, keepdims=True)


def last_digits(shape, reduced, dtype="float32"):
    """By how many units of the last place a sum may be off: half a unit, and a fold rounds three times more."""
    return 2.0 if (shape, reduced) in FOLDED and dtype == "float32" else 1.0


def exact(values, reduced):
    rows = np.moveaxis(np.asarray(values, "float64"), reduced, range(-len(reduced), 0))
    kept = [1 if d in reduced else n for d, n in enumerate(values.shape)]
    return np.reshape([math.fsum(row) for row in rows.reshape(math.prod(kept), -1)], kept)


def units_off(got, expected):
    """Of the last place of the result."""
    return np.max(np.abs(np.asarray(got, "float64") - expected) / np.spacing(expected.astype(got.dtype)))


def uneven(shape, seed=0, dtype="float32"):
    return np.exp(5 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def ones_beside(large, shape, reduced, place, dtype="float32"):
    values = np.ones(shape, dtype)
    values[tuple(place * (n - 1) if d in reduced else slice(None) for d, n in enumerate(shape))] = large
    return values


@pytest.mark.parametrize("place", [FIRST, LAST])
@pytest.mark.parametrize("large", [1e3, 2.0**24, 3e9, 1e12, 1e30])
@every_layout
def test_one_large_value_among_ones(shape, reduced, large, place):
    values = ones_beside(large, shape, reduced, place)
    assert units_off(total(values, reduced), exact(values, reduced)) <= last_digits(shape, reduced)


@pytest.mark.parametrize(
    ("shape", "reduced"), [*FOLDED, *WHOLE, ((61, 2, 13, 13), (0, 2, 3)), ((2, 19, 14, 5), (1, 2, 3))]
)
def test_a_single_device_folds_otherwise_to_the_same(shape, reduced, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    alone = jax.jit(lambda values: sum_of_squares(values, reduced))
    for values in (ones_beside(1e12, shape, reduced, LAST), uneven(shape)):
        assert units_off(alone(values), exact(values, reduced)) <= 2


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
@every_layout
def test_values_of_all_sizes(shape, reduced, scale):
    values = uneven(shape) * np.float32(scale)
    assert units_off(total(values, reduced), exact(values, reduced)) <= last_digits(shape, reduced)


def test_a_plain_sum_is_further_off():
    values = ones_beside(2.0**24, (37, 2, 31), (0, 2), FIRST)
    assert units_off(jax.jit(plain, static_argnums=1)(values, (0, 2)), exact(values, (0, 2))) > 10


@pytest.mark.parametrize(("shape", "reduced"), [FOLDED[3], WHOLE[1]])
def test_double_precision(shape, reduced):
    with jax.enable_x64(True):
        for values in (ones_beside(3e17, shape, reduced, FIRST, "float64"), uneven(shape, dtype="float64")):
            got = total(values, reduced)
            assert got.dtype == "float64"
            assert units_off(got, exact(values, reduced)) <= 2


@pytest.mark.parametrize(("shape", "reduced"), [((1023,), (0,)), ((3, 341, 2), (0, 1)), ((1,), (0,)), ((0, 3), (0,))])
def test_few_values_are_summed_plainly(shape, reduced):
    values = uneven(shape)
    assert_same(total(values, reduced), jax.jit(plain, static_argnums=1)(values, reduced))


@pytest.mark.parametrize("rest", [0.0, 1.0, 1e12])
@pytest.mark.parametrize("odd", [[np.inf], [np.nan], [np.inf, np.nan], [HUGE], [HUGE / 2, HUGE], [HUGE / 1024], [0.0]])
@pytest.mark.parametrize(("shape", "reduced"), [((1024, 2), (0,)), ((2, 1031), (1,))])
def test_what_overflows_and_what_does_not(shape, reduced, odd, rest):
    values = np.full(shape, rest, "float32")
    np.moveaxis(values, reduced[0], 0)[5 : 5 + len(odd)] = np.reshape(odd, [-1, 1])
    with np.errstate(over="ignore"):
        expected = values.sum(reduced, keepdims=True, dtype="float64").astype("float32")
    np.testing.assert_allclose(total(values, reduced), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.99, 0.995, 0.999])
@pytest.mark.parametrize("count", [1024, 1031])
def test_a_sum_just_below_the_largest_number(count, share):
    values = np.full(count, HUGE / count * share, "float32")
    np.testing.assert_allclose(total(values, (0,)), exact(values, (0,)), rtol=1e-5)


@pytest.mark.parametrize("within", [0, 1, 2])
@pytest.mark.parametrize(("shape", "reduced"), [((2, 1024), (1,)), ((37, 2, 31), (0, 2))])
def test_vmap_is_a_loop(shape, reduced, within):
    members = [uneven(shape, seed=s) for s in range(3)]
    got = jax.jit(jax.vmap(lambda v: sum_of_squares(v, reduced), within))(np.stack(members, within))
    for g, member in zip(got, members, strict=True):
        assert units_off(g, exact(member, reduced)) <= last_digits(shape, reduced)


@pytest.mark.parametrize("modes", ["f", "r", "ff", "fr", "rf", "rr", "rfr"])
def test_its_derivatives_are_those_of_the_plain_sum(modes):
    reduced = (1,)
    x, v = (np.random.default_rng(s).normal(size=(2, 1024)).astype("float32") for s in (0, 1))

    def towards(function, mode):
        """The derivative along `v` of a function of an array, by forward or by reverse mode."""
        if mode == "f":
            return lambda x: jax.jvp(function, [x], [v])[1]
        return lambda x: plain(v * jax.grad(lambda x: jnp.sum(function(x)))(x), reduced)

    got, expected = (
        jax.jit(functools.reduce(towards, modes, lambda x, s=s: jnp.sin(s(x**2, reduced) / x.size)))(x)
        for s in (sum_of_squares, plain)
    )
    assert_close(got / np.max(np.abs(expected)), expected / np.max(np.abs(expected)), GRADIENT["float32"])


def test_its_cotangent_is_spread_evenly():
    values, cotangent = uneven((3, 1031)), np.arange(3, dtype="float32")[:, None]
    pullback = jax.jit(jax.vjp(lambda v: total(v, (1,)), values)[1])
    assert_same(pullback(cotangent), [np.broadcast_to(cotangent, values.shape)])
    assert_same(jax.vmap(pullback)(cotangent[None]), [np.broadcast_to(cotangent, (1, *values.shape))])


@pytest.mark.parametrize("lowest", [-80, -1, 79])
def test_an_inverse_root_is_off_by_less_than_its_last_digit(lowest):
    x = np.exp(np.linspace(lowest, 80, 2**18)).astype("float32")
    assert units_off(root(x), 1 / np.sqrt(x.astype("float64"))) <= 0.86


def test_an_inverse_root_in_double_precision():
    x = np.exp(np.linspace(-600, 600, 1000))
    with jax.enable_x64(True):
        y = np.asarray(root(x))
    with decimal.localcontext(prec=40):
        pairs = [map(decimal.Decimal, pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
        off = np.array([float(y * x.sqrt() - 1) for x, y in pairs])
    assert np.max(np.abs(off) * y / np.spacing(y)) <= 0.86


@pytest.mark.parametrize("x", [2e-38, 1e-30, 1.0, 1e30, 1e38, 3e38])
def test_an_inverse_root_anywhere(x):
    np.testing.assert_allclose(root(x), x**-0.5, rtol=TOLERANCE["float32"])


@pytest.mark.parametrize(("order", "expected"), [(1, -0.5), (2, 0.25), (3, -0.125)])
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_an_inverse_root(outer, order, expected):
    """Of `1 / sqrt(x * exp(t))` by `t`, where neither `1 / x**2` nor `1 / sqrt(x)**3` need be a number."""

    def function(t, x, root):
        return rsqrt(x * jnp.exp(t)) * root

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
    x, dy = (np.random.default_rng(s).normal(size=(8, 3)).astype("float32") for s in (0, 1))
    x *= np.float32(scale)
    expected = reference.gradient(x, dy, 1.0, epsilon=0.0)[0]
    assert_close(slope(x, dy) * scale, expected * scale, GRADIENT["float32"])
