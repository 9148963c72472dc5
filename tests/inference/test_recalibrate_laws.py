"""Recalibrated statistics are those of all data at once, whatever the model is written in; nothing else changes."""

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxbn.linen
from jaxbn import batch_norm, init_state
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import NETS, NONE, UNEQUAL, X, expected, functional, linen, nnx, one, raw
from tests.tolerances import assert_close, assert_same

every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)
orders = pytest.mark.parametrize("order", ["layers", "pass"])
KEEP = (np.random.default_rng(1).random([40, 1]) < 0.7) | (np.arange(40)[:, None] == 0)


@pytest.mark.slow
@every_net
@orders
def test_unequal_batches_are_the_whole(make, order):
    net = make()
    new, _ = recalibrate(net.apply, net.variables, UNEQUAL, order=order)
    assert_close(net.read(new), expected(order=order))
    assert_close(net.read(recalibrate(net.apply, net.variables, X, order=order)[0]), expected(order=order))


@pytest.mark.slow
@settings(max_examples=8)
@given(cut=st.lists(st.sampled_from([0, 7, 14, 21]), max_size=4).map(sorted), offset=st.sampled_from([0.0, 1e4]))
def test_any_cut_is_the_whole(cut, offset):
    x = X + np.float32(offset)
    new, _ = recalibrate(one, init_state(5), np.split(x, cut))
    np.testing.assert_allclose(new.mean, x.mean(0, dtype="float64"), rtol=2e-7)
    np.testing.assert_allclose(new.var, x.var(0, dtype="float64"), rtol=2e-6)


def test_what_lies_between_the_batches_is_counted():
    """Batches with means far apart: the average of their variances would miss nearly all of it."""
    x = (np.repeat([[-10.0], [0], [10]], 20, 0) + np.random.default_rng(2).normal(size=[60, 1])).astype("float32")
    new, _ = recalibrate(one, init_state(1), np.split(x, 3))
    assert_close(new.var, x.astype("float64").var(0))
    assert new.var[0] > 60 > 2 > np.mean([b.var() for b in np.split(x, 3)])


@pytest.mark.slow
def test_stock_flax_is_ours_linen_is_nnx_is_functional():
    first, *others = [
        net.read(recalibrate(net.apply, net.variables, UNEQUAL)[0]) for net in (m() for m in NETS.values())
    ]
    for other in others:
        assert_same(other, first)


@pytest.mark.parametrize("name", ["linen-flax", "linen-ours", "nnx-flax", "nnx-ours", "functional"])
@pytest.mark.parametrize("poison", [np.nan, 3e38])
def test_masked_is_filtered(name, poison):
    net = NETS[name]()
    x = np.where(KEEP, X, np.float32(poison))
    batches = [(x[:7], KEEP[:7]), (x[7:], KEEP[7:])]
    new, report = recalibrate(lambda v, batch: net.apply(v, batch[0], mask=batch[1]), net.variables, batches)
    assert_close(net.read(new), expected(X[KEEP[:, 0]]))
    assert report["one"].samples.max() == KEEP.sum()


@pytest.mark.slow
def test_weights_are_repetition():
    net, repeats = functional(), np.random.default_rng(3).integers(0, 4, [40, 1])
    new, report = recalibrate(
        lambda v, batch: net.apply(v, batch[0], mask=batch[1]), net.variables, [(X, repeats.astype("float32"))]
    )
    assert_close(net.read(new), expected(np.repeat(X, repeats[:, 0], 0)))
    assert report["two"].samples.max() == repeats.sum()


@pytest.mark.slow
def test_orders_agree_where_nothing_moves_and_for_a_first_layer():
    net = functional()
    once, _ = recalibrate(net.apply, net.variables, UNEQUAL)
    again = [recalibrate(net.apply, once, UNEQUAL, order=order)[0] for order in ("layers", "pass")]
    assert_close(again[0], once)
    assert_close(again[1], once)
    layers, one_pass = (recalibrate(net.apply, net.variables, UNEQUAL, order=o)[0] for o in ("layers", "pass"))
    assert_same(layers["one"], one_pass["one"])
    gap = np.abs(layers["two"].var - one_pass["two"].var) / layers["two"].var
    assert np.max(gap) > 0.5


@pytest.mark.slow
@every_net
def test_inputs_stay_and_nothing_but_statistics_changes(make):
    net = make()
    before = raw(net.variables)
    new, _ = recalibrate(net.apply, net.variables, UNEQUAL)
    assert_same(raw(net.variables), before)
    after = raw(new)
    assert before.keys() == after.keys()
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert len(changed) == 4
    if make is not NETS["by-hand"]:
        assert all("mean" in path or "var" in path for path in changed)
    assert all(after[path].dtype == before[path].dtype for path in before)


@pytest.mark.slow
def test_other_collections_and_modes_stay():
    net = linen(jaxbn.linen.BatchNorm)
    variables = {**net.variables, "cache": {"steps": jnp.array(3)}, "notes": "kept"}
    new, _ = recalibrate(lambda v, x: net.apply({k: v[k] for k in ("params", "batch_stats")}, x), variables, X)
    assert new["notes"] == "kept"
    assert_same(new["cache"], variables["cache"])
    model = nnx(flax.nnx.BatchNorm)
    new, _ = recalibrate(model.apply, model.variables, X)
    assert (new.one.use_running_average, new.dropout.deterministic) == (False, False)


def test_a_layer_that_is_called_twice_counts_both():
    def apply(state, x):
        for half in (x[:, :2], x[:, 2:4]):
            y = one(state, half)
        return y

    new, report = recalibrate(apply, init_state(2), UNEQUAL)
    both = np.concatenate([X[:, :2], X[:, 2:4]]).astype("float64")
    assert_close((new.mean, new.var), (both.mean(0), both.var(0)))
    assert_same(report["batch_norm"].samples, np.full(2, 80.0))


def convolution(padding):
    kernel, dense = (np.random.default_rng(4).normal(size=s).astype("float32") for s in [(2, 2, 1, 3), (3, 4)])

    def apply(states, x):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x, _ = batch_norm(NONE, states[0], x, False, epsilon=0.0)
        return batch_norm(NONE, states[1], jnp.maximum(x, 0) @ dense, False, epsilon=0.0)

    return apply, (init_state(3), init_state(4)), np.random.default_rng(5).random((8, 4, 4, 1), "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "undone"),
    [((*functional()[:2], X), True), (convolution("VALID"), True), (convolution("SAME"), False)],
    ids=["dense", "VALID", "SAME"],
)
def test_another_brightness_and_contrast_is_undone(net, undone):
    """Unless the border of the images is filled up with zeros, which do not change."""
    apply, states, images = net
    outputs = [jax.tree.leaves(apply(recalibrate(apply, states, [x])[0], x))[0] for x in (images, 0.25 * images + 0.5)]
    assert np.allclose(*outputs, atol=1e-5) == undone
