"""Members of a mapped axis that is named are one batch: each value counts once, whoever holds it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

pytestmark = pytest.mark.slow

PARAMS, STATE = init_batch_norm(3)
AFFINE = BatchNormParams(jnp.asarray([0.5, 2.0, -1.0]), jnp.asarray([0.0, 1.0, 3.0]))


def members(x, mask=None, **kwargs):
    """`batch_norm` of `[members, rows, features]` that share a batch, and the state that all of them have."""
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, momentum=0.0, axis_name="i", **kwargs)
    return jax.jit(jax.vmap(lambda x, mask: one(x, mask=mask), axis_name="i", out_axes=(0, None)))(x, mask)


def examples(x, **kwargs):
    """`batch_norm` of one example `[channels, ...]`, mapped over all of them; they share the state that comes out."""
    one = functools.partial(batch_norm, AFFINE, STATE, train=True, axis=0, axis_name="batch")
    return jax.vmap(one, axis_name="batch", out_axes=(0, None), **kwargs)(x)


def test_a_member_without_data_changes_nothing():
    x = noise(2, 4, 3)
    x[1] = np.nan
    mask = np.zeros((2, 4, 1), bool)
    mask[0, :3] = True
    shards = jax.vmap(lambda x, m: batch_norm(PARAMS, STATE, x, True, mask=m, axis_name="i"), axis_name="i")
    y, state = jax.jit(shards)(x, mask)
    np.testing.assert_allclose(y[0, :3], reference.batch_norm(x[0, :3]), atol=5e-6)
    np.testing.assert_allclose(state.mean[1], 0.01 * x[0, :3].mean(0), rtol=1e-5)


def test_members_weigh_as_much_as_they_have_values():
    x, mask = noise(2, 6, 3), np.arange(6) < np.array([[1], [6]])
    x[1] += 10
    y, state = members(x, mask[..., None])
    together = reference.moments(x[mask])
    assert_close(y[mask], reference.batch_norm(x[mask]), TOLERANCE["float32"])
    assert_close((state.mean, state.var), (together.mean, reference.variance(together)), TOLERANCE["float32"])


def test_equal_values_of_all_members_have_no_spread():
    x = np.full((2, 5, 3), np.float32(1e4 + 0.1))
    y, state = members(x)
    assert not np.any(y)
    assert not np.any(state.var)


def test_the_unbiased_variance_is_that_of_all_members_together():
    x = noise(4, 2, 3)
    assert_close(members(x, ddof=1)[1].var, x.astype("float64").var((0, 1), ddof=1), TOLERANCE["float32"])


def by_vmap(member):
    return jax.vmap(member, axis_name="i")


def by_shard_map(member):
    mesh, each = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,)), PartitionSpec("i")
    return jax.shard_map(lambda x: member(x[0])[None], mesh=mesh, in_specs=each, out_specs=each)


@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]], [[2, 0], [3, 1]]], ids=str)
@pytest.mark.parametrize("way", [by_vmap, pytest.param(by_shard_map, marks=pytest.mark.several_devices)])
def test_members_of_one_value_each_are_a_batch_together(way, groups):
    """What each of them holds is `[features]`: alone, it would have nothing to average over."""
    x, (params, state) = np.arange(16, dtype="float32").reshape(4, 4) ** 2, init_batch_norm(4)
    one = functools.partial(batch_norm, params, state, train=True, axis_name="i", axis_index_groups=groups)
    y = np.asarray(jax.jit(way(lambda x: one(x)[0]))(x))
    for group in groups or [[0, 1, 2, 3]]:
        assert_close(y[group], reference.batch_norm(x[group]), TOLERANCE["float32"])


@pytest.mark.parametrize("shape", [(10, 3), (10, 3, 4), (10, 3, 2, 5)], ids=str)
def test_examples_under_a_vmap_are_a_batch(shape):
    x = noise(*shape, mean=5.0, std=2)
    y, state = jax.jit(examples)(x)
    assert_close(y, reference.batch_norm(x, AFFINE.scale, AFFINE.bias, 1), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, 1)]), TOLERANCE["float32"])


@pytest.mark.parametrize("members", [1, 5])
def test_a_batch_of_one_has_gradient_0(members):
    """A larger one has that of the formula."""
    x, dy = noise(members, 3, std=2), noise(members, 3, std=2, seed=1)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * examples(x)[0])))(x)
    assert_close(dx, reference.gradient(x, dy, AFFINE.scale)[0], GRADIENT["float32"])
    # To the last digit of the terms that cancel.
    assert (np.max(np.abs(dx)) > 1e-7 * np.max(np.abs(dy)) / np.sqrt(1e-5)) == (members > 1)


def test_a_vmap_without_a_name_keeps_batches_apart():
    x = noise(4, 3, 6, std=2) * np.arange(1, 5, dtype="float32").reshape(4, 1, 1)
    y, states = jax.jit(jax.vmap(lambda x: examples(x, in_axes=1)))(x)
    assert_close(np.swapaxes(y, 1, 2), reference.batch_norm(x, *(np.tile(p, (4, 1)) for p in AFFINE), (0, 1)), 5e-6)
    for i, part in enumerate(x):
        expected = reference.running(*STATE, [reference.moments(part, 0)])
        assert_close([v[i] for v in states], expected, TOLERANCE["float32"])


def test_an_axis_that_is_not_there_is_refused():
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, axis_name="batch")
    for call, x in ((one, noise(3)), (jax.vmap(one), noise(10, 3)), (jax.vmap(one, axis_name="other"), noise(10, 3))):
        with pytest.raises(ValueError, match=r"`axis_name` must be a mapped axis.*batch"):
            call(x)


def test_a_state_with_an_axis_of_members_is_refused():
    def step(state, x):
        return jax.jit(jax.vmap(lambda x: batch_norm(PARAMS, state, x, True, axis_name="i"), axis_name="i"))(x)

    _, state = step(STATE, noise(4, 2, 3))
    with pytest.raises(ValueError, match=r"`state.mean` must have the shape \(3,\) .* got \(4, 3\)"):
        step(state, noise(4, 2, 3))
