"""The digits that are promised: float32 in, NumPy float64 on the same float32 beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_moments, batch_norm, init_batch_norm
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, OUTLIER, TOLERANCE, assert_close

pytestmark = pytest.mark.optimized

SHAPE = (256, 8, 8, 16)
OFFSETS = [0, 1e2, 1e3, 1e4, 1e5, 1e6]
PARAMS, STATE = init_batch_norm(16)
trained = jax.jit(functools.partial(batch_norm, PARAMS, STATE, train=True))


def largest_error(x, mask=None):
    y, state = trained(x, mask=mask)
    assert np.all(state.var > 0)
    return np.max(np.abs(np.asarray(y, "float64") - reference.batch_norm(x, mask=mask)))


def assert_rounded_once(got, exact):
    """By half the last digit of its dtype at most, beside what float32 loses."""
    digit = float(jnp.finfo(got.dtype).eps)
    assert np.all(np.abs(np.asarray(got, "float64") - exact) <= (digit / 2 + 1e-5) * np.abs(exact) + 1e-5)


@pytest.mark.parametrize("offset", OFFSETS)
def test_noise_at_any_distance_from_0(offset):
    assert largest_error(noise(*SHAPE, mean=offset)) <= TOLERANCE["float32"]


@pytest.mark.parametrize("first", [1e2, 1e3, 1e5, "zero", "masked"])
@pytest.mark.parametrize("offset", OFFSETS)
def test_whatever_the_first_value_is(offset, first):
    x, mask = noise(*SHAPE, mean=offset), None
    x[0, 0, 0] = {"zero": 0, "masked": np.nan}.get(first) if isinstance(first, str) else offset + first
    if first == "masked":
        mask = np.ones([*SHAPE[:-1], 1], bool)
        mask[0, 0, 0] = False
    assert largest_error(x, mask) <= OUTLIER


@pytest.mark.parametrize("outlier", [1e2, 1e4])
@pytest.mark.parametrize("place", [(3, 3, 3), (200, 7, 7)])
def test_an_outlier_anywhere(place, outlier):
    x = noise(*SHAPE, mean=1e4)
    x[place] += outlier
    assert largest_error(x) <= OUTLIER


@pytest.mark.parametrize("outlier", [-1e4, 1e4])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_one_of_the_first_rows_may_be_an_outlier(row, outlier):
    """Of data without other axes, three of them propose the pivot; on the outlier, it would cost 12 bits."""
    x = noise(4096, 16, mean=10)
    x[row] += outlier
    assert largest_error(x) <= OUTLIER


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_loses_only_the_rounding_of_the_output(dtype):
    x = noise(*SHAPE, mean=300, dtype=dtype)
    y, _ = trained(x)
    assert y.dtype == x.dtype
    assert_rounded_once(y, reference.batch_norm(np.asarray(x, "float32")))


@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("offset", [3e4, 1e8, 1e15])
def test_the_variance_is_never_negative_nor_clipped(offset, spread):
    x = noise(40, 100, mean=offset, std=spread)
    m2 = np.asarray(jax.jit(batch_moments)(x).m2)
    expected = reference.moments(x).m2
    assert np.all(m2 >= 0)
    assert np.all(np.abs(m2 - expected) <= 1e-5 * expected)


@pytest.mark.parametrize("outlier", [False, True])
def test_gradients_far_from_0(outlier):
    x, dy = noise(*SHAPE, mean=1e4), noise(*SHAPE)[::-1]
    if outlier:
        x[0, 0, 0] += 1e3
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * batch_norm(PARAMS, STATE, x, True)[0])))(x)
    expected = reference.gradient(x, dy, 1.0)[0]
    size = np.max(np.abs(expected))
    assert_close(dx / size, expected / size, GRADIENT["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_in_half_precision_are_rounded_once(dtype):
    x, dy = (noise(*SHAPE, mean=mean, dtype=dtype) for mean in (300, 0))
    dx = jax.jit(jax.grad(lambda x: jnp.sum((dy * batch_norm(PARAMS, STATE, x, True)[0]).astype("float32"))))(x)
    assert dx.dtype == x.dtype
    assert_rounded_once(dx, reference.gradient(np.asarray(x, "float32"), np.asarray(dy, "float32"), 1.0)[0])


@pytest.mark.parametrize("mean", [1e2, 1e3, 1e4])
def test_the_variance_far_from_0(mean):
    x = noise(4096, 3, mean=mean)
    var = jax.jit(batch_moments)(x).m2 / len(x)
    np.testing.assert_allclose(var, reference.moments(x).m2 / len(x), rtol=1e-6)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_training_and_evaluation_far_from_0(mean, train):
    params, state = init_batch_norm(3)
    x, state = noise(64, 3, mean=mean), state._replace(mean=jnp.full(3, mean))
    y = jax.jit(lambda x: batch_norm(params, state, x, train)[0])(x)
    assert_close(y, reference.batch_norm(x) if train else reference.normalize(x, mean, 1), TOLERANCE["float32"])


def test_alike_first_rows_of_very_many_are_no_pivot():
    x = noise(100_000, 2, mean=1002)
    x[:3] = 0
    m = jax.jit(batch_moments)(x)
    np.testing.assert_allclose(m.m2 / m.count, x.astype("float64").var(0), rtol=1e-5)


def test_a_variance_that_is_all_rounding_makes_no_nan():
    norm, fresh = jax.jit(functools.partial(batch_norm, train=True)), init_batch_norm(3)
    for seed in range(40):
        y, state = norm(*fresh, noise(257, 3, mean=3e4, std=0.1, seed=seed))
        assert np.all(np.isfinite(y))
        assert np.all(np.asarray(state.var) >= 0)


def test_the_gradient_of_a_narrow_batch_far_from_0():
    x, dy = noise(4, 3, mean=1e3, std=0.1), noise(4, 3, seed=1)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * batch_norm(*init_batch_norm(3), x, True)[0])))(x)
    expected = reference.gradient(x, dy, 1.0)[0]
    np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_groups_far_from_0_and_the_variance_of_all_of_them(mean, masked):
    x, (params, state) = noise(256, 8, 3, mean=mean), init_batch_norm(3)
    mask = (np.arange(256) % 5 > 0).reshape(-1, 1, 1) if masked else None
    norm = functools.partial(ghost_batch_norm, params, state, train=True, ghost_size=24, momentum=0.0)
    y, new = jax.jit(norm)(x, mask=mask)
    assert np.max(np.abs(np.float64(y) - reference.ghost_batch_norm(x, 24, mask=mask))) <= TOLERANCE["float32"]
    np.testing.assert_allclose(new.var, reference.variance(reference.moments(x, mask=mask)), rtol=1e-6)


@pytest.mark.parametrize("r_max", [1.0, 3.0, float("inf")])
@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_renormalised_far_from_0(mean, r_max):
    x, (params, state) = noise(256, 8, 3, mean=mean), init_batch_norm(3)
    state = state._replace(mean=jnp.full(3, mean + 0.25), var=jnp.full(3, 2.0))
    limits = {"r_max": r_max, "d_max": r_max - 1}
    y, _ = jax.jit(functools.partial(batch_renorm, params, state, train=True, **limits))(x)
    expected = reference.batch_renorm(x, *reference.corrections(x, state.mean, 2.0, **limits))
    assert_close(y, expected, TOLERANCE["float32"])


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_the_variance_of_micro_batches_far_from_0(mean):
    x, (params, state) = noise(256, 8, 3, mean=mean), init_batch_norm(3)
    norm = jax.jit(functools.partial(batch_norm, params, train=True, momentum=0.0))
    parts = accumulate(state, 4)
    for part in np.split(x, 4):
        _, parts = norm(parts, part)
    np.testing.assert_allclose(parts.var, reference.variance(reference.moments(x)), rtol=1e-6)
