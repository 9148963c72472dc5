"""Beside the common ways: nothing compiled, members that share the batch alone, very many rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, batch_moments, batch_norm, init_batch_norm
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

_, STATE = init_batch_norm(3)
SCALES = np.array([[1, 2, 3], [4, 5, 6]], "float32")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(2, 1, shape).astype("float32")


def members(train):
    """Two devices with scales of their own, and one batch that both hold."""
    mesh = jax.make_mesh((2,), ("m",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def one(scale, x):
        return batch_norm(BatchNormParams(scale[0], 2 * scale[0]), STATE, x, train)[0][None]

    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(P("m"), P()), out_specs=P("m")))


@pytest.mark.parametrize("train", [True, False, "traced"])
def test_members_of_a_mapped_axis_may_share_the_batch_alone(train):
    x, flag = noise(8, 3), jnp.asarray(True) if train == "traced" else train
    run = members(flag)
    dscale, dx = jax.grad(lambda s, x: (run(s, x) ** 3).sum(), (0, 1))(SCALES, x)

    def loop(scales, x):
        return sum((batch_norm(BatchNormParams(s, 2 * s), STATE, x, flag)[0] ** 3).sum() for s in scales)

    assert_close(run(SCALES, x)[1], batch_norm(BatchNormParams(SCALES[1], 2 * SCALES[1]), STATE, x, flag)[0], 1e-5)
    for got, expected in zip((dscale, dx), jax.grad(loop, (0, 1))(jnp.asarray(SCALES), x), strict=True):
        assert_close(got / np.max(np.abs(expected)), expected / np.max(np.abs(expected)), GRADIENT["float32"])


@pytest.mark.parametrize("masked", [False, True])
def test_nothing_has_to_be_compiled(masked):
    x, mask = noise(8, 3), np.arange(8)[:, None] < 6 if masked else None
    params, state = init_batch_norm(3)
    with jax.disable_jit():
        y, _ = batch_norm(params, state, x, True, mask=mask)
        dx = jax.grad(lambda x: (batch_norm(params, state, x, True, mask=mask)[0] ** 3).sum())(x)
    assert_close(y, reference.batch_norm(x, mask=mask), TOLERANCE["float32"])
    assert np.all(np.isfinite(dx))


def test_alike_first_rows_of_very_many_are_no_pivot():
    x = noise(100_000, 2) + np.float32(1000)
    x[:3] = 0
    m = jax.jit(batch_moments)(x)
    np.testing.assert_allclose(m.m2 / m.count, x.astype("float64").var(0), rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_gradient_flows_to_weights(order):
    params, state = init_batch_norm(3)
    f = lambda x, w: (batch_norm(params, state, x, True, mask=w)[0] ** 3).sum()  # noqa: E731
    x, w = noise(8, 3), np.arange(1.0, 9.0, dtype="float32")[:, None]
    assert not np.any(jax.grad(f, 1)(x, w))
    assert not np.any(jax.jacfwd(jax.grad(f, order[0]), order[1])(x, w))
