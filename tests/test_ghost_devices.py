"""Ghost batch norm on several devices: groups are normalised where they are, and one message makes the statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from jaxbn.variants import ghost_batch_norm
from tests import reference
from tests.collectives import collectives, sent
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

pytestmark = pytest.mark.several_devices

SCALE, BIAS = np.float32([0.5, 1.5, -2.0, 1.0]), np.float32([1.0, 0.0, -1.0, 2.0])
PARAMS = BatchNormParams(jnp.asarray(SCALE), jnp.asarray(BIAS))
STATE = init_batch_norm(4)[1]
SHAPE = (32, 4, 4, 4)
every_kind = pytest.mark.parametrize("kind", ["Auto", "Explicit"])
masked_or_not = pytest.mark.parametrize("masked", [False, True])


def mesh(kind, **axes):
    axes = axes or {"a": 4}
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType[kind],) * len(axes))


def problem(masked):
    """The batch, weights of its output in a loss, and a mask that leaves some groups no data."""
    x, dy, mask = noise(*SHAPE, mean=1e4), noise(*SHAPE, seed=1), (np.arange(32) % 9 > 3).reshape(-1, 1, 1, 1)
    return (np.where(mask, x, np.float32(np.nan)), dy, mask) if masked else (x, dy, None)


def normalized(x, dy, mask, *, size):
    return ghost_batch_norm(PARAMS, STATE, x, True, ghost_size=size, mask=mask)[0]


def gradient(x, dy, mask, *, size):
    return jax.grad(lambda x: jnp.sum(dy * normalized(x, dy, mask, size=size)))(x)


def trained(x, dy, mask, *, size):
    """What a training step is given: the gradient, the output, and the state."""

    def loss(x):
        y, state = ghost_batch_norm(PARAMS, STATE, x, True, ghost_size=size, mask=mask)
        return jnp.sum(dy * y), (y, state)

    return jax.grad(loss, has_aux=True)(x)


def strided(x, dy, mask, *, size):
    """Groups whose examples do not lie side by side."""
    x = x.reshape(size, -1, *x.shape[1:]).swapaxes(0, 1)
    return jax.vmap(lambda x: batch_norm(PARAMS, STATE, x, True)[0])(x)


@functools.cache
def compiled(function, kind, *, masked=False, size=8):
    """The program, compiled in less time to slower machine code, and its sharded arguments."""
    with jax.set_mesh(mesh(kind)):
        arguments = jax.device_put(problem(masked), P("a"))
        lowered = jax.jit(functools.partial(function, size=size)).lower(*arguments)
        return lowered.compile({"xla_backend_optimization_level": 0}), arguments


@every_kind
@masked_or_not
@pytest.mark.parametrize("function", [normalized, gradient])
def test_nothing_is_sent_where_devices_hold_whole_groups(function, kind, masked):
    """The greatest groups of which each device has one; smaller ones need no more."""
    assert collectives(compiled(function, kind, masked=masked)[0]) == 0


def test_nothing_is_sent_for_smaller_groups():
    assert collectives(compiled(normalized, "Auto", size=2)[0]) == 0


@every_kind
@masked_or_not
def test_the_running_statistics_take_one_message_of_some_numbers_per_group(kind, masked):
    program, _ = compiled(trained, kind, masked=masked)
    assert collectives(program) == 1
    assert sum(sent(program)) <= 4 * 4 * 4  # groups, features, and what is known of each


@pytest.mark.parametrize(("function", "size"), [(normalized, 16), (strided, 8)])
def test_groups_that_devices_share_take_messages(function, size):
    assert collectives(compiled(function, "Auto", size=size)[0]) > 0


@every_kind
@masked_or_not
def test_sharded_arrays_have_the_same_groups(kind, masked):
    program, arguments = compiled(trained, kind, masked=masked)
    x, dy, mask = problem(masked)
    dx, (y, state) = program(*arguments)
    assert_close(y, reference.ghost_batch_norm(x, 8, SCALE, BIAS, mask=mask), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=mask)]), TOLERANCE["float32"])
    assert_close(dx, reference.ghost_gradient(x, dy, SCALE, 8, mask=mask)[0], GRADIENT["float32"])
    if kind == "Explicit":
        assert [v.sharding.spec for v in (y, dx)] == [P("a", None, None, None)] * 2


def test_groups_may_lie_across_devices():
    """Six groups of five, and two examples that are left."""
    program, arguments = compiled(trained, "Auto", size=5)
    x, dy, _ = problem(False)
    dx, (y, state) = program(*arguments)
    assert_close(y, reference.ghost_batch_norm(x, 5, SCALE, BIAS), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x)]), TOLERANCE["float32"])
    assert_close(dx, reference.ghost_gradient(x, dy, SCALE, 5)[0], GRADIENT["float32"])


@masked_or_not
@pytest.mark.parametrize("train", [True, "traced"])
def test_features_may_be_sharded_too(train, masked):
    x, _, mask = problem(masked)
    with jax.set_mesh(mesh("Explicit", a=2, b=2)):
        split = jax.device_put(x, P("a", None, None, "b"))
        mask_split = mask if mask is None else jax.device_put(mask, P("a"))
        norm = functools.partial(ghost_batch_norm, PARAMS, STATE, ghost_size=8, mask=mask_split)
        flag = jnp.asarray(True) if train == "traced" else train
        y, state = jax.jit(lambda x: norm(x, flag))(split)
    assert y.sharding.spec == P("a", None, None, "b")
    assert_close(y, reference.ghost_batch_norm(x, 8, SCALE, BIAS, mask=mask), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=mask)]), TOLERANCE["float32"])


@masked_or_not
def test_under_shard_map_groups_are_local_and_statistics_of_all_by_one_collective(masked):
    """Five examples each, so that the last group of every device is smaller."""
    x, mask = noise(20, 4, std=2), np.arange(20)[:, None] % 6 > 0 if masked else np.ones((20, 1), bool)
    x += np.repeat(np.arange(0, 20, 5, "float32"), 5)[:, None]
    one = functools.partial(ghost_batch_norm, PARAMS, STATE, train=True, ghost_size=2, axis_name="a")
    run = jax.shard_map(lambda x, mask: one(x, mask=mask), mesh=mesh("Auto"), in_specs=P("a"), out_specs=(P("a"), P()))
    program = jax.jit(run).lower(x, mask).compile({"xla_backend_optimization_level": 0})
    assert collectives(program) == 1
    y, state = program(x, mask)
    for part in np.split(np.arange(20), 4):
        expected = reference.ghost_batch_norm(x[part], 2, SCALE, BIAS, mask=mask[part])
        assert_close(y[part], expected, TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=mask)]), TOLERANCE["float32"])
