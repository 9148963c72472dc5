"""A batch spread over a mapped axis is normalised as if it were whole, however unequal its parts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxbn import batch_norm, init_batch_norm
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

FILLED = np.arange(5) < np.array([[0], [1], [5], [3]])  # the rows of 4 shards that hold data


def noise(*shape, offset=0.0, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(offset, 1, shape), "float32")


def spread_out(x, mask=None, **kwargs):
    """`batch_norm` with one shard of `[shards, rows, features]` on each member of a mapped axis."""
    params, state = init_batch_norm(x.shape[-1])
    one = functools.partial(batch_norm, params, state, train=True, axis_name="batch", **kwargs)
    return jax.vmap(lambda x, m: one(x, mask=m), axis_name="batch")(x, mask)


def flat(x):
    return None if x is None else np.asarray(x).reshape(-1, x.shape[-1])


def assert_whole(x, mask, y, state):
    assert_close(y.reshape(-1, 3), reference.batch_norm(flat(x), mask=flat(mask)), TOLERANCE["float32"])
    expected = reference.running(np.zeros(3), np.ones(3), 0, [reference.moments(flat(x), mask=flat(mask))])
    for member in range(len(x)):
        assert_close([part[member] for part in state], expected, TOLERANCE["float32"])


def collectives(function, x):
    """How many times the devices wait for each other in the compiled program."""
    names = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
    return len(re.findall(rf"= .* ({'|'.join(names)})(-start)?\(", function.lower(x).compile().as_text()))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_shards_are_the_whole_batch(offset, masked):
    x, mask = noise(4, 5, 3, offset=offset), FILLED[..., None] if masked else None
    poisoned = jnp.where(mask, x, np.nan) if masked else x
    assert_whole(x, mask, *jax.jit(spread_out)(poisoned, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_the_whole_batch(masked):
    x, dy = noise(4, 5, 3, offset=1e2), noise(4, 5, 3, seed=5)
    mask = FILLED[..., None] if masked else None
    poisoned = jnp.where(mask, x, np.nan) if masked else x
    got = jax.jit(jax.grad(lambda x: jnp.sum(dy * spread_out(x, mask)[0])))(poisoned)
    expected = reference.gradient(flat(x), flat(dy), 1.0, mask=flat(mask))[0]
    assert_close(got.reshape(-1, 3), expected, GRADIENT["float32"])


def test_nothing_anywhere():
    y, state = jax.jit(spread_out)(jnp.full([4, 5, 3], np.nan), jnp.zeros([4, 5, 1], bool))
    assert not np.any(y)
    assert_close(state, (np.zeros([4, 3]), np.ones([4, 3]), np.zeros(4)), 0)


@pytest.mark.parametrize("groups", [[[0, 1], [2, 3]], [[3, 0], [1, 2]]])
def test_groups_share_a_batch_each(groups):
    x = noise(4, 5, 3)
    y, state = jax.jit(functools.partial(spread_out, axis_index_groups=groups))(x)
    for group in groups:
        picked = np.array(group)
        assert_whole(x[picked], None, y[picked], jax.tree.map(lambda part, i=picked: part[i], state))


def test_devices_under_shard_map():
    """The state is known to be the same on every device, the collectives are one forward and one backward."""
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, dy, (params, state) = noise(20, 3, offset=50.0), noise(20, 3, seed=5), init_batch_norm(3)
    split, whole = PartitionSpec("batch"), PartitionSpec()
    call = functools.partial(batch_norm, params, state, train=True, axis_name="batch")
    mapped = jax.jit(jax.shard_map(call, mesh=mesh, in_specs=split, out_specs=(split, whole)))
    y, new = mapped(x)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    assert_close(new, reference.running(*state, [reference.moments(x)]), TOLERANCE["float32"])
    assert collectives(mapped, x) == 1

    gradient = jax.jit(jax.grad(lambda x: jnp.sum(dy * mapped(x)[0])))
    assert_close(gradient(x), reference.gradient(x, dy, 1.0)[0], GRADIENT["float32"])
    assert collectives(gradient, x) == 2


def test_sharded_arrays_need_no_axis_name():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, (params, state) = noise(20, 3, offset=50.0), init_batch_norm(3)
    y, _ = jax.jit(lambda x: batch_norm(params, state, x, True))(
        jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    )
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
