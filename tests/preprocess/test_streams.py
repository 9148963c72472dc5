"""A fit to batches, to masked data or to data spread over devices is the fit to the whole."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from jaxbn.preprocess import transform
from tests.preprocess.fits import FEW, PROJECTIONS, SCALINGS, assert_same_fit, compiled, few_fits, layout, table
from tests.tolerances import assert_close

POISON = [np.nan, np.inf, -np.inf, 3e38]
KEEP = np.random.default_rng(5).random([40, 1]) < 0.7
# The rows of each of 4 members that hold data.
FILLED = np.arange(10) < np.array([[0], [1], [10], [7]])


@st.composite
def cuts(draw):
    """Where the 40 rows are cut: batches of none, 1 or 5."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 5]), max_size=12))
    ends = [end for end in np.cumsum(sizes, dtype=int) if end <= 40]
    return [*ends, *range(ends[-1] if ends else 0, 40), 40]


@few_fits
@settings(max_examples=8)
@given(cut=cuts(), offset=st.sampled_from([0.0, 1e6]))
def test_batches_are_the_whole(fit, cut, offset):
    x = table(offset=offset)
    assert_same_fit(fit(iter(np.split(x, cut))), fit(x), x)


@few_fits
def test_one_example_at_a_time_is_the_whole(fit):
    x = table(offset=100.0)
    assert_same_fit(fit(row for row in x), fit(x), x)


@pytest.mark.slow
@few_fits
def test_images_in_batches_of_any_size(fit):
    x, axis = layout((20, 2, 2, 3), (3, 1), offset=3.0)
    assert_same_fit(fit((x[:10], x[10:10], x[10:]), axis=axis), fit(x, axis=axis), x)


@few_fits
@pytest.mark.parametrize("poison", POISON)
def test_masked_is_filtered(fit, poison):
    x = table(offset=100.0)
    poisoned, expected = np.where(KEEP, x, np.float32(poison)), fit(x[KEEP[:, 0]])
    assert_same_fit(fit(poisoned, mask=KEEP), expected, x)
    assert_same_fit(fit(poisoned, mask=KEEP.astype("float16")), expected, x)


@few_fits
def test_batches_have_masks_of_their_own(fit):
    x, cut = table(offset=100.0), [0, 20, 20]
    masks = np.split(KEEP, cut)
    batches = np.split(np.where(KEEP, x, np.nan), cut)
    assert_same_fit(fit(iter(batches), mask=iter(masks)), fit(x, mask=KEEP), x)
    # A batch without a mask counts as a whole.
    every_second = [m if i % 2 else None for i, m in enumerate(masks)]
    batches = np.split(x, cut)
    whole = np.concatenate([m if i % 2 else np.ones_like(m) for i, m in enumerate(masks)])
    assert_same_fit(fit(batches, mask=every_second), fit(x, mask=whole), x)


@few_fits
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_weights_are_repetition(fit, dtype):
    x = table(offset=100.0)
    repeats = np.random.default_rng(6).integers(0, 4, 40)
    assert_same_fit(fit(x, mask=repeats[:, None].astype(dtype)), fit(np.repeat(x, repeats, 0)), x)


@pytest.mark.parametrize("name", ["center", "standardize"])
def test_only_the_ratio_of_weights_matters(name):
    x, weights = table(offset=10.0), np.random.default_rng(6).random([40, 1])
    assert_same_fit(SCALINGS[name](x, mask=weights * 1e-3), SCALINGS[name](x, mask=weights * 1e3), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standardize", "min-max"])
def test_every_value_may_have_a_weight_of_its_own(name):
    x = table(offset=100.0)
    keep = np.random.default_rng(7).random(x.shape) < 0.6
    t = SCALINGS[name](np.where(keep, x, np.nan), mask=keep)
    for i in (0, 5):
        alone = SCALINGS[name](x[keep[:, i], i : i + 1])
        assert_close(transform(t, x)[:, i : i + 1], transform(alone, x[:, i : i + 1]), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"), [("standardize", "float32"), ("min-max", "float32"), ("center", "complex64")]
)
def test_omitted_values_are_masked(name, dtype):
    x = table(offset=100.0, dtype=dtype)
    missing = np.random.default_rng(8).random(x.shape) < 0.3
    x = np.where(missing, x.dtype.type(np.nan), x)
    omit = functools.partial(SCALINGS[name], nan_policy="omit")
    finite = np.where(missing, 0, x)
    assert_same_fit(omit(x), SCALINGS[name](finite, mask=~missing), finite)
    assert_same_fit(omit([x[:20], x[20:]]), SCALINGS[name](finite, mask=~missing), finite)
    # A weight on top of it, which is 0 where the omitted values are anyway, or elsewhere.
    assert_same_fit(omit(x, mask=2 * KEEP), SCALINGS[name](finite, mask=2 * (KEEP & ~missing)), finite)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pca", "whiten-zca"])
def test_omitted_examples_are_masked(name):
    x, axis = layout((40, 1, 2, 3), (1, 2, 3), offset=100.0)
    missing = np.random.default_rng(8).random(x.shape) < 0.05
    whole = ~missing.any((1, 2, 3), keepdims=True)
    assert 0 < whole.sum() < 40
    with_nan, keep = np.where(missing, np.nan, x), KEEP[..., None, None]
    omit = functools.partial(PROJECTIONS[name], axis=axis, nan_policy="omit")
    assert_same_fit(omit(with_nan), PROJECTIONS[name](x, axis=axis, mask=whole), x)
    assert_same_fit(omit(with_nan, mask=3.0 * keep), PROJECTIONS[name](x, axis=axis, mask=3.0 * (keep & whole)), x)


def member(fit, axis_name):
    return lambda x, mask: fit(x, mask=mask, axis_name=axis_name)


def mapped(fit):
    return jax.vmap(member(fit, "i"), axis_name="i")


def twice_mapped(fit):
    both = jax.vmap(jax.vmap(member(fit, ("i", "j")), axis_name="i"), axis_name="j")

    def call(x, mask):
        t = both(*(v.reshape(2, 2, *v.shape[1:]) for v in (x, mask)))
        return jax.tree.map(lambda part: part.reshape(4, *part.shape[2:]), t)

    return call


def sharded(fit):
    """What is fitted leaves the map in one piece, or tracing it would raise."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    shard = jax.shard_map(member(fit, "i"), mesh=mesh, in_specs=P("i"), out_specs=P())

    def call(x, mask):
        t = shard(x.reshape(40, 6), mask.reshape(40, 1))
        return jax.tree.map(lambda part: jnp.stack([part] * 4), t)

    return call


@functools.cache
def program(spread, name):
    return compiled(spread(FEW[name]), np.zeros([4, 10, 6], "float32"), FILLED[..., None])


@pytest.mark.parametrize(
    ("spread", "name"),
    [
        pytest.param(spread, name, marks=pytest.mark.several_devices if spread is sharded else ())
        for spread in (mapped, sharded)
        for name in ("standardize", "min-max", "pca-unbiased")
    ]
    + [(twice_mapped, "whiten-zca")],
)
def test_members_have_the_fit_of_the_whole(spread, name):
    x = table(offset=1e4)
    got = program(spread, name)(np.where(FILLED[..., None], x.reshape(4, 10, 6), np.nan), FILLED[..., None])
    expected = FEW[name](x, mask=FILLED.reshape(40, 1))
    for i in range(4):
        assert_same_fit(jax.tree.map(operator.itemgetter(i), got), expected, x)


@pytest.mark.parametrize("name", ["standardize", "min-max", "pca-unbiased"])
def test_members_without_any_data(name):
    got = program(mapped, name)(np.full([4, 10, 6], np.nan, "float32"), np.zeros([4, 10, 1], bool))
    expected = FEW[name](np.zeros([0, 6], "float32"))
    for i in range(4):
        assert_same_fit(jax.tree.map(operator.itemgetter(i), got), expected, table())
