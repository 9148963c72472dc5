"""Moments are a value: they merge, they do not see what is masked, and an offset costs them nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbn import BatchNormParams, Moments, batch_moments, merge_moments, normalize, sync_moments
from tests import reference
from tests.data import noise
from tests.strategies import batches, dtypes
from tests.tolerances import TOLERANCE, assert_close, assert_same

pytestmark = pytest.mark.optimized

moments = jax.jit(batch_moments, static_argnames="axis")
merge = jax.jit(merge_moments)


@jax.jit
def sync(x, mask):
    """Moments of [shards, rows, features], each shard on its own member of a mapped axis."""
    return jax.vmap(lambda x, m: sync_moments(batch_moments(x, mask=m), "b"), axis_name="b")(x, mask)


def assert_moments(got, expected, tolerance=TOLERANCE["float32"], *, merged=False):
    """A mean is one float32; beyond its rounding only the spread counts, unless the mean went into a merge."""
    count, mean, m2 = (np.asarray(part) for part in got)
    spread, rounding = np.sqrt(reference.variance(expected)), 2.0**-23 * np.abs(expected.mean)
    assert np.all(np.abs(count - expected.count) <= tolerance * expected.count)
    assert np.all(np.abs(mean - expected.mean) <= tolerance * spread + rounding)
    lost = merged * expected.count * rounding * (2 * spread + rounding)
    assert np.all(np.abs(m2 - expected.m2) <= tolerance * expected.m2 + lost)
    assert np.all(m2 >= 0)


@pytest.mark.slow
@given(st.data())
def test_any_batch(data):
    x, axis, mask = batch = data.draw(dtypes().flatmap(batches))
    got = moments(x, axis=axis, mask=mask)
    assert got.mean.dtype == (x.dtype if x.dtype == "complex64" else "float32")
    assert {p.dtype for p in (got.count, got.m2)} == {jnp.dtype("float32")}
    assert {p.shape for p in got} == {batch.features}
    assert_moments(got, reference.moments(x, axis, mask))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("cut", [0, 1, 3, 7])
def test_merge_is_the_whole(cut, offset, dtype):
    x = noise(7, 3, mean=offset, dtype=dtype)
    assert_moments(merge(moments(x[:cut]), moments(x[cut:])), reference.moments(x), merged=True)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_merge_is_associative_and_commutative(offset):
    x = noise(9, 3, mean=offset)
    a, b, c = moments(x[:2]), moments(x[2:3]), moments(x[3:])
    expected = reference.moments(x)
    for way in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(merge(c, a), b), merge(c, merge(b, a))):
        assert_moments(way, expected, merged=True)


def test_merging_keeps_the_variance_between_batches():
    x = noise(6, 3) + np.array([0, 0, 0, 0, 20, 20], "float32")[:, None]
    merged = merge(moments(x[:4]), moments(x[4:]))
    assert_close(merged, reference.moments(x), TOLERANCE["float32"])
    assert_close(merged.m2 / merged.count, x.astype("float64").var(0), TOLERANCE["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 1, 4, 2)], ids=["equal", "unequal"])
@pytest.mark.parametrize("spatial", [(5,), (3, 2), (2, 1, 3)], ids=["1d", "2d", "3d"])
def test_statistics_of_a_whole_pass_are_the_merged_ones(spatial, sizes):
    """Each batch is further from 0 than the one before."""
    batches = [noise(n, 3, *spatial, mean=3.0 * i, std=2, seed=i) for i, n in enumerate(sizes)]
    params = BatchNormParams(jnp.asarray([0.5, 2.0, -1.0]), jnp.asarray([0.0, 1.0, 3.0]))
    whole = functools.reduce(merge, [moments(x, axis=1) for x in batches])
    population = np.concatenate(batches)
    assert_close(whole, reference.moments(population, 1), TOLERANCE["float32"])
    y = normalize(params, population, whole.mean, whole.m2 / whole.count, axis=1)
    assert_close(y, reference.batch_norm(population, params.scale, params.bias, axis=1), TOLERANCE["float32"])


@pytest.mark.parametrize("mean", [0.0, 5.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_count_of_0_is_exactly_neutral(dtype, mean):
    m = moments(noise(5, 3, mean=100.0, dtype=dtype))
    empty = Moments(jnp.zeros(3), jnp.full(3, mean, dtype), jnp.zeros(3))
    assert_same(merge(m, empty), m)
    assert_same(merge(empty, m), m)
    assert_same(merge(empty, empty), Moments(jnp.zeros(3), jnp.zeros(3, dtype), jnp.zeros(3)))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_masked_is_filtered(dtype):
    x, keep = noise(8, 3, mean=1e3, dtype=dtype), np.array([0, 1, 1, 0, 1, 1, 0, 1], bool)
    poisoned = jnp.where(keep[:, None], x, np.nan)
    assert_moments(moments(poisoned, mask=keep[:, None]), reference.moments(x[keep]))


def test_weights_are_repetition():
    x, repeats = noise(5, 3, mean=10.0), np.array([3, 0, 1, 2, 4])
    weights = repeats[:, None]
    expected = reference.moments(np.repeat(x, repeats, 0))
    for dtype in ("int32", "float32", "float16"):
        assert_moments(moments(x, mask=weights.astype(dtype)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, -2, (1, 2), (2, 0), (-1, 0), (3, 1, 0), (0, 1, 2, 3)])
def test_any_axis_is_a_moved_axis(axis):
    x = noise(2, 3, 2, 4, mean=1.0)
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = jnp.moveaxis(x, axes, range(-len(axes), 0))
    for other in (moments(moved, axis=tuple(range(-len(axes), 0))), reference.moments(x, axis)):
        assert_close(moments(x, axis=axis), other, TOLERANCE["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_sync_is_the_whole_over_unequal_masks_and_empty_shards(offset, dtype):
    x = noise(4, 5, 3, mean=offset, dtype=dtype)
    mask = np.zeros([4, 5, 1], bool)
    for shard, rows in enumerate([0, 1, 5, 2]):
        mask[shard, :rows] = True
    got = sync(jnp.where(mask, x, np.nan), mask)
    expected = reference.moments(x.reshape(20, 3), mask=mask.reshape(20, 1))
    for member in range(4):
        assert_moments(jax.tree.map(lambda part, i=member: part[i], got), expected, merged=True)
    assert_same(sync(x, 0 * mask), jax.tree.map(jnp.zeros_like, got))


def test_sync_over_two_axes():
    x = noise(2, 3, 4, 5)
    member = lambda shard: sync_moments(batch_moments(shard), ("rows", "columns"))  # noqa: E731
    got = jax.jit(jax.vmap(jax.vmap(member, axis_name="columns"), axis_name="rows"))(x)
    expected = reference.moments(x)
    assert_close(got, [np.broadcast_to(p, (2, 3, 5)) for p in expected], TOLERANCE["float32"])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_what_the_mask_hides_is_never_read(dtype, poison):
    x, mask = noise(4, 3).astype(dtype), np.array([1, 0, 1, 0], bool)[:, None]

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        m = batch_moments(x, mask=mask)
        return jnp.sum(m.m2) + jnp.sum(m.mean.real)

    poisoned = jnp.where(mask, x, jnp.asarray(poison, dtype))
    assert_same(loss(poisoned), loss(x))
    value, gradient = loss(poisoned)
    assert np.isfinite(value)
    assert not np.any(gradient[~mask[:, 0]])
    assert np.all(gradient[mask[:, 0]])


@pytest.mark.parametrize("first", ["noise", "outlier", "zero", "masked"])
@pytest.mark.parametrize("offset", [0, 1e2, 1e3, 1e4, 1e5, 1e6])
def test_an_offset_costs_no_digit(offset, first):
    x, mask = np.array(noise(64, 3, mean=offset)), None
    x[0] = {"noise": x[0], "outlier": offset + 1e3, "zero": 0, "masked": np.nan}[first]
    if first == "masked":
        mask = np.arange(64)[:, None] > 0
    assert_moments(moments(x, mask=mask), reference.moments(x, mask=mask), tolerance=2e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 1e30, 1e-30])
def test_equal_values_have_exactly_no_spread(value):
    x = jnp.full([7, 3], value)
    for mask in (None, np.full([7, 1], 0.3, "float32")):
        got = moments(x, mask=mask)
        assert_same(got.mean, x[0])
        assert not np.any(got.m2)
