"""Nets of any framework fold alike: only the operations count."""

import functools
import os
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn.inference import fold
from jaxbn.preprocess import fit_standardize, transform
from tests.inference.nets_fold import folded, numbers, primitives, randomised
from tests.tolerances import assert_close

X = numbers(2, 12, 12, 3)
DTYPES = ["float32", "float64", "bfloat16"]


@pytest.fixture(params=DTYPES)
def dtype(request):
    with (
        jax.enable_x64(request.param == "float64"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield request.param


@pytest.mark.slow
def test_functions(dtype):
    wide = "float64" if dtype == "float64" else "float32"
    params, state = randomised(init_batch_norm(6, dtype=wide))
    v = {"kernel": numbers(27, 6, dtype=wide), "params": params, "state": state, "t": fit_standardize(X)}

    def f(v, x):
        x = transform(v["t"], x.astype(wide)).reshape(2, -1, 27).astype(dtype)
        return jax.nn.relu(batch_norm(v["params"], v["state"], x @ v["kernel"].astype(dtype), train=False)[0])

    _, _, report = folded(f, v, X, into=1, kept=1)
    assert report["batch_norm"].into == "dot kernel 27x6"
    # A row of the kernel belongs to a channel and a place.
    assert report["t"].kept.endswith("whose kernel does not have its axes")


def linen_net(norm, dtype):
    nn = pytest.importorskip("flax.linen")

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Conv(8, (3, 3), strides=2, dtype=dtype)(x)
            y = nn.relu(norm(dtype)(y))
            y = norm(dtype)(nn.Conv(8, (3, 3), feature_group_count=4, kernel_dilation=2, dtype=dtype)(y))
            return nn.gelu(y + norm(dtype)(nn.Conv(8, (1, 1), strides=2, use_bias=False, dtype=dtype)(x)))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(norm(dtype)(nn.ConvTranspose(4, (3, 3), dtype=dtype)(x)))
            x = nn.remat(Block)()(x).mean((1, 2))
            x = nn.relu(norm(dtype)(nn.DenseGeneral(6, dtype=dtype)(x)))
            return nn.Dense(5, dtype=dtype)(x)

    return Net()


def linen_norm(kind):
    nn = pytest.importorskip("flax.linen")
    if kind == "jaxbn":
        nn = pytest.importorskip("jaxbn.linen")
    return lambda dtype: nn.BatchNorm(use_running_average=True, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jaxbn", "flax"])
def test_linen(kind, dtype):
    net = linen_net(linen_norm(kind), dtype)
    x = jnp.asarray(X, dtype)
    variables = randomised(jax.eval_shape(net.init, jax.random.key(0), x))
    if dtype == "float64":
        variables = jax.tree.map(lambda a: a.astype(dtype), variables)
    _, weights, report = folded(net.apply, variables, x, into=5)
    assert report.linear == 6
    assert {name.rpartition("/")[2] for name in weights} == {"kernel", "bias"}
    assert {n.name for n in report.norms} >= {"BatchNorm_0", "CheckpointBlock_0/BatchNorm_2"}
    assert report.bound == (5e-2 if dtype == "bfloat16" else 1e-5)


@pytest.mark.slow
def test_linen_scanned_layers_are_left_alone():
    nn = pytest.importorskip("flax.linen")

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.relu(nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x))), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x))
            layers = nn.scan(
                Layer, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=3
            )
            return layers()(x, None)[0]

    x = numbers(2, 4)
    with jax.numpy_rank_promotion("allow"):
        variables = randomised(jax.eval_shape(Net().init, jax.random.key(0), x))
        _, _, report = folded(Net().apply, variables, x, into=1, kept=1, rooted=1)
    assert "inside scan, whose body is left alone" in str(report)


def nnx_net(norm, dtype):
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 8, (3, 3), dtype=dtype, rngs=rngs)
            self.norm = norm(8, use_running_average=True, dtype=dtype, rngs=rngs)
            self.up = nnx.ConvTranspose(8, 4, (3, 3), strides=(2, 2), dtype=dtype, rngs=rngs)
            self.norms = nnx.List([norm(4, use_running_average=True, dtype=dtype, rngs=rngs) for _ in range(2)])
            self.dense = nnx.Linear(4, 4, dtype=dtype, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.norm(self.conv(x)))
            x = nnx.relu(self.norms[0](self.up(x))).mean((1, 2))
            return nnx.relu(self.norms[1](self.dense(x)))

    return Net(nnx.Rngs(0))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "way"), [("jaxbn", "split"), ("flax", "closure")])
def test_nnx(kind, way, dtype):
    nnx = pytest.importorskip("flax.nnx")
    norm = (pytest.importorskip("jaxbn.nnx") if kind == "jaxbn" else nnx).BatchNorm
    graph, state = nnx.split(nnx.eval_shape(lambda: nnx_net(norm, dtype)))
    state = randomised(state)
    if dtype == "float64":
        state = jax.tree.map(lambda a: a.astype(dtype), state)
    net = nnx.merge(graph, state)
    x = jnp.asarray(X, dtype)
    state = nnx.state(net)
    f = (lambda state, x: nnx.merge(graph, state)(x)) if way == "split" else (lambda _, x: net(x))
    _, weights, report = folded(f, state, x, into=3)
    assert sorted(weights) == [f"{name}/{part}" for name in ("conv", "dense", "up") for part in ("bias", "kernel")]
    assert [n.name for n in report.norms] == ["norm", "norms/0", "norms/1"]


@pytest.mark.slow
def test_haiku(dtype):
    hk = pytest.importorskip("haiku")

    def net(x, train):
        for features in (6, 8):
            x = hk.Conv2D(features, 3, stride=2)(x)
            x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, train))
        return hk.BatchNorm(False, True, 0.9)(hk.Linear(5)(x.mean((1, 2))), train)

    made = hk.without_apply_rng(hk.transform_with_state(net))
    x = jnp.asarray(X, dtype)
    params, state = randomised(jax.eval_shape(functools.partial(made.init, train=True), jax.random.key(0), x))
    _, _, report = folded(lambda v, x: made.apply(*v, x, False)[0], (params, state), x, into=3)
    assert report.linear == 3


@pytest.mark.slow
def test_equinox(dtype):
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)

    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.BatchNorm
        dense: eqx.nn.Linear

        def __init__(self):
            self.conv = eqx.nn.Conv2d(3, 6, 3, key=keys[0])
            self.norm = eqx.nn.BatchNorm(6, "batch", mode="batch", momentum=0.9)
            self.dense = eqx.nn.Linear(6, 5, key=keys[1])

        def __call__(self, x, state, *, inference):
            x, state = self.norm(self.conv(x), state, inference=inference)
            return self.dense(jax.nn.relu(x).mean((1, 2))), state

    variables = eqx.nn.make_with_state(Net)()

    def cast(a):
        return a.astype(dtype) if eqx.is_inexact_array(a) else a

    net, state = jax.tree.map(cast, variables)
    x = jnp.asarray(X.transpose(0, 3, 1, 2), dtype)
    # Beside the statistics its state holds markers, so that they can't be drawn: they are those of training.
    train = jax.vmap(lambda x: net(x, state, inference=False), axis_name="batch", out_axes=(0, None))
    _, state = train(x)
    net = eqx.tree_at(lambda n: (n.norm.weight, n.norm.bias), net, (net.norm.weight * 1.5, net.norm.bias + 0.25))

    def f(v, x):
        net, state = v
        return jax.vmap(lambda x: net(x, state, inference=True)[0], axis_name="batch")(x)

    function, weights, report = fold(f, (net, state), x)
    assert len(report.folded) == 1, str(report)
    assert_close(jax.jit(function)(weights, x), jax.jit(lambda x: f((net, state), x))(x), tolerance=report.bound)


RESNETS = Path(os.environ.get("JAXBN_FLAX_SOURCES", "none")) / "examples/imagenet/models.py"


@pytest.mark.slow
def test_a_small_resnet():
    """Flax's example in small: bottleneck blocks with projections, the norms passed in."""
    nn = pytest.importorskip("flax.linen")

    class Block(nn.Module):
        features: int
        strides: int

        @nn.compact
        def __call__(self, x):
            def norm():
                return nn.BatchNorm(use_running_average=True, epsilon=1e-5)

            y = nn.relu(norm()(nn.Conv(self.features, (1, 1), use_bias=False)(x)))
            y = nn.relu(norm()(nn.Conv(self.features, (3, 3), self.strides, use_bias=False)(y)))
            y = norm()(nn.Conv(4 * self.features, (1, 1), use_bias=False)(y))
            if x.shape != y.shape:
                x = norm()(nn.Conv(4 * self.features, (1, 1), self.strides, use_bias=False)(x))
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (7, 7), 2, padding=[(3, 3), (3, 3)], use_bias=False)(x)
            x = nn.max_pool(nn.relu(nn.BatchNorm(use_running_average=True)(x)), (3, 3), strides=(2, 2), padding="SAME")
            for features, strides in [(2, 1), (2, 1), (4, 2)]:
                x = Block(features, strides)(x)
            return nn.Dense(7)(x.mean((1, 2)))

    x = numbers(2, 32, 32, 3)
    with jax.numpy_rank_promotion("allow"):
        variables = randomised(jax.eval_shape(ResNet().init, jax.random.key(0), x))
        function, weights, report = folded(ResNet().apply, variables, x, into=12)
        assert report.linear == 13
        more = numbers(5, 32, 32, 3, seed=7)
        assert_close(jax.jit(function)(weights, more), jax.jit(ResNet().apply)(variables, more), tolerance=1e-5)
    assert not {"rsqrt", "sqrt", "mul", "sub"} & set(primitives(function, weights, x))


@pytest.mark.skipif(not RESNETS.exists(), reason="JAXBN_FLAX_SOURCES is no folder with Flax's sources")
@pytest.mark.parametrize(("depth", "norms"), [(18, 20), (50, 53)])
def test_the_resnets_of_flax(depth, norms, monkeypatch):
    monkeypatch.syspath_prepend(RESNETS.parent)
    module = runpy.run_path(str(RESNETS))
    net = module[f"ResNet{depth}"](num_classes=1000)
    x = numbers(2, 64, 64, 3)
    with jax.numpy_rank_promotion("allow"):
        variables = randomised(jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), x))
        function, weights, report = folded(lambda v, x: net.apply(v, x, train=False), variables, x, into=norms)
    assert report.linear == norms + 1
    assert not {"rsqrt", "sqrt", "mul", "sub"} & set(primitives(function, weights, x))
