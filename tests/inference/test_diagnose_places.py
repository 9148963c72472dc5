"""Batch norms are diagnosed wherever JAX lets them be called, and what is said of their input is known there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormState, batch_norm, init_state
from jaxbn.inference import diagnose
from tests.inference.nets_diagnose import BATCHES, NONE, X, one
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow

MEAN, VAR = X.mean(0, dtype="float64"), X.var(0, dtype="float64")
RIGHT = BatchNormState(MEAN.astype("float32"), VAR.astype("float32"), np.int32(9))


def looped(state, x):
    return jax.lax.scan(lambda c, part: (c, one(state, part)), 0, x.reshape(4, -1, 6))[1]


def branched(state, x):
    return jax.lax.cond(x[0, 0] < 1e6, lambda x: one(state, x), lambda x: 0 * x, x)


def spread(state, x):
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(one, mesh=mesh, in_specs=(jax.P(), jax.P("devices")), out_specs=jax.P("devices"))
    return mapped(state, x)


PLACES = {
    "jit": jax.jit(one),
    "vmap": jax.vmap(one, (None, 0)),
    "remat": jax.checkpoint(one),
    "scan": looped,
    "cond": branched,
    "shard_map": pytest.param(spread, marks=pytest.mark.several_devices),
    "grad": lambda s, x: jax.grad(lambda x: one(s, x).sum())(x),
}


@pytest.mark.parametrize("apply", PLACES.values(), ids=PLACES)
def test_found_under(apply):
    report = diagnose(apply, init_state(6), BATCHES)
    assert report.codes == ("BN101",)
    assert_close((report["batch_norm"].mean, report["batch_norm"].var), (MEAN, VAR), 1e-6)
    assert diagnose(apply, RIGHT, BATCHES).codes == ()


@pytest.mark.parametrize("apply", [one, jax.vmap(one, (None, 0)), looped, jax.checkpoint(one)])
def test_what_comes_after_sees_what_it_sees_in_training(apply):
    """Two in a row, the first with the statistics of other data: the second is right."""
    states = [init_state(6), BatchNormState(np.zeros(6, "float32"), np.ones(6, "float32") * 0.97, np.int32(9))]
    old = states[0]._replace(mean=np.full(6, 2, "float32"), var=np.full(6, 9, "float32"), count=np.int32(9))

    def both(states, x):
        return one(states[1], apply(states[0], x).reshape(x.shape))

    report = diagnose(both, [old, states[1]], BATCHES)
    assert report["0"].codes == ("BN106",)
    assert report["1"].codes == ()
    assert_close((report["1"].mean, report["1"].var), (np.zeros(6), np.ones(6)), 1e-4)


def test_members_with_their_own_statistics():
    stacked = BatchNormState(np.stack([MEAN, 0 * MEAN]), np.stack([VAR, 1 + 0 * VAR]), np.int32(9))
    stacked = jax.tree.map(lambda part: part.astype("float32") if part.ndim else part, stacked)

    def apply(state, x):
        return jax.vmap(lambda mean, var: one(BatchNormState(mean, var, state.count), x))(*state[:2])

    report = diagnose(apply, stacked, BATCHES)
    assert report["batch_norm"].mean.shape == (2, 6)
    assert report.codes == ("BN106",)


DRAWN = {
    "dropout": lambda key, x: jnp.where(jax.random.bernoulli(key, 0.9, x.shape), x / 0.9, 0),
    "noise": lambda key, x: x + jax.random.normal(key, x.shape),
    "loop": lambda key, x: jax.lax.fori_loop(0, 2, lambda _, x: x + jax.random.normal(key, x.shape), x),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_random_numbers_before_a_norm_are_seen_and_others_are_not(draw):
    key = jax.random.key(0)
    assert "BN110" in diagnose(lambda s, x: one(s, draw(key, x)), RIGHT, BATCHES[:2]).codes
    assert diagnose(lambda s, x: draw(key, one(s, x)), RIGHT, BATCHES[:2]).codes == ()


def test_masked_values_are_not_seen():
    keep = np.arange(64)[:, None] < 50
    batches = [np.where(keep, batch, np.float32(np.nan)) for batch in BATCHES]
    kept = np.concatenate([batch[:50] for batch in BATCHES]).astype("float64")
    report = diagnose(lambda s, x: batch_norm(NONE, s, x, False, mask=keep)[0], RIGHT, batches)
    assert report.codes == ()
    assert_close((report["batch_norm"].mean, report["batch_norm"].var), (kept.mean(0), kept.var(0)), 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_other_dtypes(dtype):
    x = (X + 1j * X[::-1]).astype(dtype) if dtype == "complex64" else jnp.asarray(X).astype(dtype)
    old = init_state(6, dtype=dtype)
    batches = [x[:640], x[640:]]
    assert diagnose(one, old, batches).codes == ("BN101",)
    wide = np.asarray(x).astype("complex128" if dtype == "complex64" else "float64")
    right = old._replace(mean=jnp.asarray(wide.mean(0), old.mean.dtype), var=jnp.asarray(wide.var(0), old.var.dtype))
    assert diagnose(one, right, batches).codes == ()
