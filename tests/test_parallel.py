"""A batch spread over a mapped axis is normalised as if it were whole, however unequal its parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.collectives import collectives, sent
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

# Some versions of JAX announce the end of pmap wherever it is used.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*\bpmap\b:DeprecationWarning")

SCALE, BIAS = np.linspace(-2, 3, 6, dtype="float32"), np.linspace(1, -1, 6, dtype="float32")
FILLED = np.arange(5) < np.array([[0], [1], [5], [3]])  # the rows of 4 shards that hold data


def pmap(*args, **kwargs):
    """Looked up when it is called, where the warning is expected."""
    return jax.pmap(*args, **kwargs)


def along(transform):
    """Four members of one axis."""
    return lambda member: transform(functools.partial(member, "a"), axis_name="a")


def nested(outer, inner):
    """Two members by two, of two axes."""

    def mapped(member):
        call = outer(inner(functools.partial(member, ("a", "b")), axis_name="b"), axis_name="a")

        def reshaped(*arguments):
            results = call(*jax.tree.map(lambda v: v.reshape(2, 2, *v.shape[1:]), arguments))
            return jax.tree.map(lambda v: v.reshape(4, *v.shape[2:]), results)

        return reshaped

    return mapped


def mesh(**axes):
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def sharded(*, check_vma=True, **axes):
    """Four devices, in a mesh of one or two axes."""

    def mapped(member):
        def shard(*arguments):
            results = member(tuple(axes), *jax.tree.map(lambda v: v[0], arguments))
            return jax.tree.map(lambda v: v[None], results)

        split = P(tuple(axes))
        return jax.shard_map(shard, mesh=mesh(**axes), in_specs=split, out_specs=split, check_vma=check_vma)

    return mapped


DEVICES = {"pmap": along(pmap), "shard_map": sharded(a=4), "unchecked": sharded(check_vma=False, a=4)}
ONE_AXIS = DEVICES | {"vmap": along(jax.vmap)}
TWO_AXES = {
    "vmap-vmap": nested(jax.vmap, jax.vmap),
    "pmap-vmap": nested(pmap, jax.vmap),
    "shard_map-2x2": sharded(a=2, b=2),
}
WAYS = ONE_AXIS | TWO_AXES


def marked(way, *more):
    """Parameters of a test; all ways but `vmap` take devices."""
    marks = () if set(way.split("-")) == {"vmap"} else pytest.mark.several_devices
    return pytest.param(way, *more, marks=marks)


def member(axis_name, params, x, mask, groups=None):
    _, state = init_batch_norm(x.shape[-1])
    return batch_norm(params, state, x, True, mask=mask, axis_name=axis_name, axis_index_groups=groups)


def differentiated(forward):
    """`(params, x, mask, dy) -> ((by x, by params), (y, state))`, by the sum of `dy * y`."""

    def loss(params, x, mask, dy):
        y, state = forward(params, x, mask)
        return jnp.sum(dy * y), (y, state)

    return jax.grad(loss, (1, 0), has_aux=True)


def differentiated_inside(one):
    """Each member differentiates its own sum; what it does to the others is in its gradient all the same."""
    return lambda name, *arguments: differentiated(functools.partial(one, name))(*arguments)


def problem(masked, offset=0.0):
    """Arguments of `differentiated` for four members; where the weights are 0, `x` is NaN."""
    params = BatchNormParams(*(jnp.broadcast_to(p, (4, 6)) for p in (SCALE, BIAS)))
    x, mask = noise(4, 5, 6, mean=offset), FILLED[..., None] if masked else None
    return params, jnp.where(mask, x, np.nan) if masked else x, mask, noise(4, 5, 6, seed=5)


def compiled(function, *arguments):
    """Compiled in less time, to slower machine code of the same program."""
    return jax.jit(function).lower(*arguments).compile({"xla_backend_optimization_level": 0})


@functools.cache
def program(way, masked, *, groups=None, inside=False):
    one = functools.partial(member, groups=groups)
    mapped = WAYS[way](differentiated_inside(one)) if inside else differentiated(WAYS[way](one))
    return compiled(mapped, *problem(masked))


def assert_batch(x, mask, dy, gradient, y, state):
    """All arrays are flat: output, state and gradients by `x`, scale and bias are those of one batch."""
    assert_close(y, reference.batch_norm(x, SCALE, BIAS, mask=mask), TOLERANCE["float32"])
    running = reference.running(np.zeros(6), np.ones(6), 0, [reference.moments(x, mask=mask)])
    assert_close(state, running, TOLERANCE["float32"])
    assert_close(gradient, reference.gradient(x, dy, SCALE, mask=mask), GRADIENT["float32"])


def assert_batches(groups, arguments, results):
    """Each group of members has a batch, and every member of it has its state."""
    (_, *arrays), ((by_x, by_params), (y, state)) = arguments, jax.tree.map(np.asarray, results)
    for group in groups:
        members = np.array(group)
        *data, by_x_here, y_here = (
            v if v is None else np.asarray(v)[members].reshape(-1, v.shape[-1]) for v in (*arrays, by_x, y)
        )
        gradient = by_x_here, *(part[members].sum(0) for part in by_params)
        for one in group:
            assert_batch(*data, gradient, y_here, [part[one] for part in state])


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize(
    ("way", "masked"), [marked(way, True) for way in WAYS] + [marked(way, False) for way in ONE_AXIS]
)
def test_shards_are_the_whole_batch(way, masked, offset):
    arguments = problem(masked, offset)
    assert_batches([range(4)], arguments, program(way, masked)(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize("way", [*map(marked, DEVICES)])
def test_gradients_may_be_taken_inside(way):
    arguments = problem(masked=True, offset=1e4)
    assert_batches([range(4)], arguments, program(way, True, inside=True)(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize("way", [*map(marked, ["vmap", "pmap", "shard_map"])])
def test_groups_share_a_batch_each(way):
    """They may differ in size, and hold nothing, as the first does."""
    groups, arguments = ((0,), (3, 1), (2,)), problem(masked=True, offset=1e4)
    assert_batches(groups, arguments, program(way, True, groups=groups)(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize("way", [*map(marked, WAYS)])
def test_nothing_anywhere(way):
    params, x, mask, dy = problem(masked=True)
    gradients, (y, state) = program(way, True)(params, jnp.full_like(x, np.nan), np.zeros_like(mask), dy)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((gradients, y)))
    assert_close(state, (np.zeros([4, 6]), np.ones([4, 6]), np.zeros(4)), 0)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("way", [*map(marked, DEVICES)])
def test_one_collective_forward_and_one_more_backward(way, masked):
    forward = compiled(WAYS[way](member), *problem(masked)[:3])
    assert [collectives(forward), collectives(program(way, masked))] == [1, 2]
    # Not one collective of what goes back and, once more, of what went forward.
    assert sum(sent(program(way, masked))) <= 2 * sum(sent(forward))


@pytest.mark.several_devices
def test_what_is_shared_is_known_to_be_shared():
    """The state, and gradients of shared parameters, leave the map in one piece, or tracing it would raise."""
    split, (_, *data) = P("a"), problem(masked=True, offset=1e4)
    _, x, mask, dy = arguments = BatchNormParams(SCALE, BIAS), *(v.reshape(20, -1) for v in data)
    step = jax.shard_map(
        functools.partial(differentiated_inside(member), "a"),
        mesh=mesh(a=4),
        in_specs=(P(), split, split, split),
        out_specs=((split, P()), (split, P())),
    )
    (by_x, by_params), (y, state) = compiled(step, *arguments)(*arguments)
    assert_batch(x, mask, dy, (by_x, *by_params), y, state)
