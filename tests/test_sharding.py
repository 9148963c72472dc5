"""Under plain `jit` a sharded array is normalised as the whole that it is, and its parts stay where they are."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, Moments, batch_norm, init_batch_norm, init_state, update_state
from jaxbn.variants import ghost_batch_norm
from tests import reference
from tests.collectives import collectives, sent
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

pytestmark = pytest.mark.several_devices

IMAGES = (32, 8, 8, 3)
SHAPES = [(64, 3), (20, 3), (64, 4, 4, 3), IMAGES]
BATCH, HEIGHT, BATCH_AND_HEIGHT, BATCH_AND_FEATURES = P("a"), P(None, "a"), P("a", "b"), P("a", None, None, "b")
LAYOUTS = [
    *((kind, shape, BATCH) for kind in ("Auto", "Explicit") for shape in SHAPES),
    *((kind, IMAGES, layout) for kind in ("Auto", "Explicit") for layout in (HEIGHT, BATCH_AND_HEIGHT)),
    *((kind, (32, 8, 8, 4), BATCH_AND_FEATURES) for kind in ("Auto", "Explicit")),
]


def devices(kind, layout):
    axes = {"a": 2, "b": 2} if "b" in layout else {"a": 4}
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType[kind],) * len(axes))


def problem(shape, masked):
    """Parameters, the batch, its weights, and those of its output in a loss; the first quarter has no data."""
    params = BatchNormParams(*(np.linspace(*ends, shape[-1], dtype="float32") for ends in ((-2, 1), (3, 0))))
    x, dy, mask = noise(*shape, mean=1e4), noise(*shape, seed=5), np.abs(noise(*shape[:-1], 1, seed=7)) < 1
    mask[: len(x) // 4] = False
    return (params, np.where(mask, x, np.nan), dy, mask) if masked else (params, x, dy, None)


def step(params, x, dy, mask):
    def loss(x, params):
        y, state = batch_norm(params, init_batch_norm(x.shape[-1])[1], x, True, mask=mask)
        return jnp.sum(dy * y), (y, state)

    return jax.grad(loss, (0, 1), has_aux=True)(x, params)


@functools.cache
def trained(kind, shape, layout, masked):
    """The compiled step, its sharded batch, and its results."""
    params, *data = problem(shape, masked)
    with jax.set_mesh(devices(kind, layout)):
        x, dy, mask = jax.device_put(data, [layout, layout, P(*layout[: len(shape) - 1])])
        # Level 0 takes less time to compile the same collectives to slower machine code.
        program = jax.jit(step).lower(params, x, dy, mask).compile({"xla_backend_optimization_level": 0})
        return program, x, program(params, x, dy, mask)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("kind", "shape", "layout"), LAYOUTS, ids=str)
def test_sharded_arrays_need_no_axis_name(kind, shape, layout, masked):
    params, x, dy, mask = problem(shape, masked)
    _, _, (gradient, (y, state)) = trained(kind, shape, layout, masked)
    assert_close(y, reference.batch_norm(x, *params, mask=mask), TOLERANCE["float32"])
    running = reference.running(*init_batch_norm(shape[-1])[1], [reference.moments(x, mask=mask)])
    assert_close(state, running, TOLERANCE["float32"])
    assert_close(gradient, reference.gradient(x, dy, params.scale, mask=mask), GRADIENT["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", [BATCH, HEIGHT, BATCH_AND_HEIGHT], ids=str)
def test_explicitly_sharded_arrays_keep_their_sharding(layout, masked):
    _, x, ((by_x, _), (y, _)) = trained("Explicit", IMAGES, layout, masked)
    expected = P(*layout, *[None] * (x.ndim - len(layout)))
    assert [jax.typeof(v).sharding.spec for v in (x, y, by_x)] == [expected] * 3


@pytest.mark.parametrize("masked", [False, True])
def test_images_stay_on_their_devices(masked):
    """Nothing is sent but four numbers per feature from each device, however large the images."""
    program, *_ = trained("Auto", IMAGES, BATCH, masked)
    assert max(sent(program)) <= 4 * 4 * IMAGES[-1]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_devices_wait_for_each_other_once_forward_and_once_backward(kind, masked):
    program, *_ = trained(kind, IMAGES, BATCH, masked)
    assert collectives(program) == 2


def test_batches_that_devices_share_unevenly_are_exact_too():
    """One pivot is chosen for all devices then, not one for each; and so it is where they are very many."""
    x = noise(6, 5, mean=1e4)
    with jax.set_mesh(devices("Auto", BATCH)):
        # Only within a program may the parts differ in size.
        split = lambda x: jax.lax.with_sharding_constraint(x, BATCH)  # noqa: E731
        y, _ = jax.jit(lambda x: batch_norm(*init_batch_norm(5), split(x), True))(x)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])


@pytest.mark.parametrize(("shape", "layout"), [((4120, 3), BATCH), ((4096, 3), BATCH), ((16, 128, 3), HEIGHT)], ids=str)
def test_of_any_data_at_most_a_sixteenth_is_sent(shape, layout):
    """That share is where the pivot is looked for."""
    program, *_ = trained("Auto", shape, layout, False)
    assert sum(sent(program)) <= math.prod(shape) / 16 + 40


def test_members_may_have_statistics_of_their_own():
    """A `vmap` over what each device holds: nothing is sent."""
    x = noise(4, 5, 3) + np.arange(0, 20, 5, "float32")[:, None, None]
    params, state = init_batch_norm(3)

    def local(x):
        return jax.vmap(lambda x: batch_norm(params, state, x, True))(x.reshape(4, 5, 3))

    split = jax.device_put(x.reshape(20, 3), NamedSharding(devices("Auto", BATCH), BATCH))
    program = jax.jit(local).lower(split).compile()
    y, states = program(split)
    for i, part in enumerate(x):
        assert_close(y[i], reference.batch_norm(part), TOLERANCE["float32"])
        running = reference.running(*state, [reference.moments(part)])
        assert_close([part[i] for part in states], running, TOLERANCE["float32"])
    assert collectives(program) == 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", [batch_norm, functools.partial(ghost_batch_norm, ghost_size=16)])
def test_explicitly_sharded_arrays_need_no_mesh_around_the_call(norm):
    params, x, _, _ = problem((64, 3), masked=False)
    train = jax.jit(functools.partial(norm, params, init_batch_norm(3)[1], train=True))
    sharded = jax.device_put(x, NamedSharding(devices("Explicit", BATCH), BATCH))
    assert_close(train(sharded), train(x), TOLERANCE["float32"])


def test_an_explicitly_sharded_state_takes_moments_that_are_not():
    state, moments = init_state(4), Moments(*jnp.ones((3, 4)))
    with jax.set_mesh(devices("Explicit", P("a"))):
        sharded = state._replace(mean=jax.device_put(state.mean, P("a")), var=jax.device_put(state.var, P("a")))
        assert_same(update_state(sharded, moments), update_state(state, moments))
