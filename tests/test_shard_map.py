"""`shard_map`: what devices share is shared by all, or by groups of them, and one message carries it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

pytestmark = pytest.mark.several_devices

PARAMS, STATE = init_batch_norm(3)
SPLIT, WHOLE = P("i"), P()
SCALES = np.array([[1, 2, 3], [4, 5, 6]], "float32")


def mesh(devices):
    return jax.make_mesh((devices,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def quarters():
    """Four batches in one, whose statistics are far from those of the whole."""
    return noise(20, 3) + np.repeat(np.arange(0, 20, 5, "float32"), 5)[:, None]


def spread_out(x, out_specs, *, keep=lambda y, state: (y, state), **kwargs):
    """`batch_norm` with a quarter of `x` on each of four devices, and of what it returns what `keep` does."""
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, **kwargs)
    return jax.jit(jax.shard_map(lambda x: keep(*one(x)), mesh=mesh(4), in_specs=SPLIT, out_specs=out_specs))(x)


def moved(*batches):
    return reference.running(*STATE, [reference.moments(x) for x in batches])


def test_a_state_that_is_said_to_be_replicated_is_the_same_on_every_device():
    x = quarters()
    with pytest.raises(ValueError, match="out_specs"):
        spread_out(x, (SPLIT, WHOLE))
    y, state = spread_out(x, (SPLIT, WHOLE), axis_name="i")
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    for device in range(4):
        assert_close([part.addressable_data(device) for part in state], moved(x), TOLERANCE["float32"])


def test_groups_of_devices_share_a_batch_each():
    x, rows = quarters(), np.repeat(np.arange(4), 5)
    groups = [[0, 3], [1, 2]]
    y, mean = spread_out(x, SPLIT, keep=lambda y, state: (y, state.mean[None]), axis_name="i", axis_index_groups=groups)
    for group in groups:
        shared = x[np.isin(rows, group)]
        assert_close(y[np.isin(rows, group)], reference.batch_norm(shared), TOLERANCE["float32"])
        assert_close(mean[np.array(group)], np.tile(moved(shared)[0], (2, 1)), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_devices_wait_for_each_other_once(dtype):
    one = functools.partial(batch_norm, *init_batch_norm(3, dtype=dtype), train=True, axis_name="i")
    step = jax.jit(jax.shard_map(one, mesh=mesh(4), in_specs=SPLIT, out_specs=(SPLIT, WHOLE)))
    program = step.lower(noise(8, 3).astype(dtype)).as_text()
    assert len(re.findall(r"stablehlo\.(all_|reduce_scatter|collective_)", program)) == 1


def members(train):
    """Two devices with scales of their own, and one batch that both hold."""

    def one(scale, x):
        return batch_norm(BatchNormParams(scale[0], 2 * scale[0]), STATE, x, train)[0][None]

    return jax.jit(jax.shard_map(one, mesh=mesh(2), in_specs=(SPLIT, WHOLE), out_specs=SPLIT))


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False, "traced"])
def test_devices_may_share_the_batch_alone(train):
    x, flag = noise(8, 3, mean=2), jnp.asarray(True) if train == "traced" else train
    run = members(flag)
    dscale, dx = jax.jit(jax.grad(lambda s, x: (run(s, x) ** 3).sum(), (0, 1)))(SCALES, x)

    def loop(scales, x):
        return sum((batch_norm(BatchNormParams(s, 2 * s), STATE, x, flag)[0] ** 3).sum() for s in scales)

    assert_close(run(SCALES, x)[1], batch_norm(BatchNormParams(SCALES[1], 2 * SCALES[1]), STATE, x, flag)[0], 1e-5)
    for got, expected in zip((dscale, dx), jax.jit(jax.grad(loop, (0, 1)))(SCALES, x), strict=True):
        assert_close(got / np.max(np.abs(expected)), expected / np.max(np.abs(expected)), GRADIENT["float32"])
