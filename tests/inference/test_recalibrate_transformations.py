"""A batch norm is found wherever JAX or Flax lets it be called."""

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
from jaxbn import BatchNormState, init_state
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import NETS, X, expected, one
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow

WHOLE = (X.mean(0, dtype="float64"), X.var(0, dtype="float64"))
NORMS = {"flax": flax.linen.BatchNorm, "ours": jaxbn.linen.BatchNorm}
both_norms = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)


def stacked(*shape):
    return BatchNormState(jnp.zeros(shape), jnp.ones(shape), jnp.zeros((), jnp.int32))


def looped(state, x):
    return jax.lax.scan(lambda c, part: (c, one(state, part)), 0, x.reshape(4, 10, 5))[1]


def carried(state, x):
    return jax.lax.scan(lambda s, part: (s, one(s, part)), state, x.reshape(4, 10, 5))[1]


def branched(state, x):
    quiet = lambda x: 0 * x  # noqa: E731
    return jax.lax.cond(x[0, 0] < 1e6, lambda x: one(state, x), quiet, x)


def switched(state, x):
    branches = [lambda x: one(state, x) + 1, lambda x: one(state, 100 * x)]
    return jax.lax.switch(jnp.int32(0), branches, x)


PLACES = {
    "jit": jax.jit(one),
    "jit-twice": jax.jit(lambda s, x: jax.jit(one)(s, x)),
    "vmap-of-examples": jax.vmap(one, (None, 0)),
    "vmap-of-groups": lambda s, x: jax.vmap(one, (None, 1))(s, x.reshape(10, 4, 5)),
    "vmap-twice": lambda s, x: jax.vmap(jax.vmap(one, (None, 0)), (None, 0))(s, x.reshape(10, 4, 5)),
    "remat": jax.checkpoint(one),
    "scan": looped,
    "carry": carried,
    "cond": branched,
    "switch": switched,
    "map": lambda s, x: jax.lax.map(lambda row: one(s, row[None]), x),
    "grad": lambda s, x: jax.grad(lambda x: one(s, x).sum())(x),
    "stop": lambda s, x: jnp.argmax(jax.lax.stop_gradient(one(s, x)), -1),
}


@pytest.mark.parametrize("apply", PLACES.values(), ids=PLACES)
def test_found_under(apply):
    state = init_state(5)
    apply(state, jnp.asarray(X))  # what is in the caches already must not hide it
    new, report = recalibrate(apply, state, [X])
    assert_close(new[:2], WHOLE)
    assert np.all(report["batch_norm"].samples > 0)
    # Nor may what was traced with marks be taken for the function itself.
    text = str(jax.make_jaxpr(apply)(state, jnp.asarray(X)))
    assert "jaxbn_input" not in text


def test_steps_of_a_scan_with_their_own_statistics():
    def apply(state, x):
        return jax.lax.scan(lambda c, own: (c, one(BatchNormState(*own, state.count), c)), x, state[:2])[0]

    new, _ = recalibrate(apply, stacked(3, 5), [X])
    assert_close(new[:2], tuple(np.tile(part, (3, 1)) for part in WHOLE))


def test_members_of_a_vmap_with_their_own_statistics():
    def apply(state, x):
        return jax.vmap(lambda mean, var, x: one(BatchNormState(mean, var, state.count), x))(*state[:2], x)

    x = np.stack([X, 2 * X + 1, X])
    new, _ = recalibrate(apply, stacked(3, 5), [x])
    assert_close(new[:2], (x.mean(1, dtype="float64"), x.var(1, dtype="float64")))


@both_norms
def test_a_scan_over_blocks_of_linen(norm):
    class Block(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            return norm(use_running_average=True)(2 * x), None

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            axes = {"params": 0, "batch_stats": 0}
            block = flax.linen.remat(Block)
            return flax.linen.scan(block, variable_axes=axes, split_rngs={"params": True}, length=3)()(x)

    net = Net()
    variables = net.init(jax.random.key(0), X)
    new, report = recalibrate(net.apply, variables, [X], order="pass")
    (stats,) = jax.tree.leaves(new["batch_stats"], is_leaf=lambda node: "mean" in node)
    y, means, variances = X.astype("float64"), [], []
    for _ in range(3):
        y = 2 * y
        means, variances = [*means, y.mean(0)], [*variances, y.var(0)]
        y = y / np.sqrt(1 + 1e-5)
    assert_close((stats["mean"], stats["var"]), (np.stack(means), np.stack(variances)))
    assert len(report.names) == 1


@both_norms
def test_jit_and_vmap_of_linen(norm):
    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            many = flax.linen.vmap(norm, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True})
            return flax.linen.jit(many)(use_running_average=True)(x)

    x = np.stack([X, 2 * X + 1])
    net = Net()
    variables = net.init(jax.random.key(0), x)
    net.apply(variables, x)
    new, _ = recalibrate(net.apply, variables, [x])
    (stats,) = jax.tree.leaves(new["batch_stats"], is_leaf=lambda node: "mean" in node)
    assert_close((stats["mean"], stats["var"]), (x.mean(1, dtype="float64"), x.var(1, dtype="float64")))


@pytest.mark.parametrize("name", ["nnx-flax", "nnx-ours"])
def test_jit_of_nnx_and_a_state_instead_of_a_model(name):
    net = NETS[name]()
    jitted = flax.nnx.jit(lambda model, x: model(x))
    new, _ = recalibrate(jitted, net.variables, [X], order="pass")
    assert_close(net.read(new), expected(order="pass"))
    net.variables.eval()
    graph, state = flax.nnx.split(net.variables)
    new, report = recalibrate(lambda state, x: flax.nnx.merge(graph, state)(x), state, [X], order="pass")
    assert_close(net.read(flax.nnx.merge(graph, new)), expected(order="pass"))
    assert report.names == ("one", "two")


def test_a_subclass_of_flax_own_layer_is_seen_once():
    class Doubled(flax.linen.BatchNorm):
        def __call__(self, x, use_running_average=None, *, mask=None):
            return super().__call__(2 * x, use_running_average, mask=mask)

    layer = Doubled(use_running_average=True)
    new, report = recalibrate(layer.apply, layer.init(jax.random.key(0), X), [X])
    assert_close(new["batch_stats"]["mean"], 2 * WHOLE[0])
    assert report["batch_norm"].samples.max() == 40


@both_norms
def test_a_convolutional_net(norm):
    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            for width in (4, 8):
                shortcut = norm(use_running_average=True)(flax.linen.Conv(width, (1, 1))(x))
                x = norm(use_running_average=True)(flax.linen.Conv(width, (3, 3))(x))
                x = flax.linen.relu(x + shortcut)
            return x.mean((1, 2))

    images = np.random.default_rng(0).normal(1, 2, (12, 6, 6, 3)).astype("float32")
    net = Net()
    variables = net.init(jax.random.key(0), images)
    new, report = recalibrate(net.apply, variables, [images[:8], images[8:]])
    seen = net.apply(new, images, capture_intermediates=True)[1]["intermediates"]
    for name in (f"BatchNorm_{i}" for i in range(4)):
        y = np.asarray(seen[name]["__call__"][0], "float64")
        assert_close((y.mean((0, 1, 2)), y.var((0, 1, 2))), (np.zeros(y.shape[-1]), np.ones(y.shape[-1])), 1e-4)
        assert report[name].samples.max() == 12
