"""Whole nets of the live frameworks: all their batch norms out of one net, into another, in one call each."""

import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.interop import (
    from_equinox,
    from_haiku,
    from_keras,
    from_nnx,
    rename,
    to_equinox,
    to_haiku,
    to_keras,
    to_nnx,
)
from tests.interop.peers import lenient
from tests.interop.whole_models import changed
from tests.tolerances import assert_close, assert_same


def test_a_live_net_of_nnx():
    nnx = pytest.importorskip("flax.nnx")
    from jaxbn.nnx import BatchNorm

    class Net(nnx.Module):
        def __init__(self, rngs):
            blocks = [(nnx.Linear(3, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)) for _ in range(2)]
            self.blocks = nnx.List([nnx.Sequential(*block) for block in blocks])
            self.norm, self.head = nnx.LayerNorm(3, rngs=rngs), BatchNorm(3, rngs=rngs, averaging="cumulative")

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    with lenient():
        model, fresh = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    state = nnx.state(model)
    found = from_nnx(nnx.to_pure_dict(state))
    assert sorted(found) == ["blocks/0/layers/1", "blocks/1/layers/1", "head"]
    assert_same(from_nnx(state), found)
    new = changed(found)
    pure = nnx.to_pure_dict(state)
    # One keeps a count and two do not: no single `averaging` fits them, but `into` tells.
    apart = to_nnx({path: new[path] for path in new if path != "head"})
    apart |= to_nnx({"head": new["head"]}, averaging="cumulative")
    merged = to_nnx(new, into=model)
    assert_same(from_nnx(model), found)
    assert_same(from_nnx(merged), from_nnx(to_nnx(new, into=pure)))
    assert isinstance(merged.head.mean[...], jax.Array)
    assert merged.norm.scale[...] is model.norm.scale[...]
    for arrays in (to_nnx(new, into=pure), apart):
        state = nnx.state(fresh)
        nnx.replace_by_pure_dict(state, arrays)
        nnx.update(fresh, state)
        assert fresh.head.count[...] == 3
        again = from_nnx(nnx.to_pure_dict(nnx.state(fresh)))
        got, expected = ({path: (p, s[:2]) for path, (p, s) in layers.items()} for layers in (again, new))
        assert_same(got, expected)


def test_a_live_net_of_keras(tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    h5py = pytest.importorskip("h5py")

    def net():
        layers = keras.layers
        block = keras.Sequential([layers.Dense(4), layers.BatchNormalization(scale=False)], name="block")
        more = [layers.Dense(3), layers.BatchNormalization(name="bn"), block, layers.LayerNormalization()]
        return keras.Sequential([keras.Input((5,)), *more, layers.BatchNormalization(name="last")], name="net")

    model, fresh = net(), net()
    found = from_keras({v.path: v for v in model.variables})
    assert len(found) == 3
    assert [own[0].scale is None for own in found.values()] == [False, True, False]
    arrays = to_keras(changed(found))
    for v in model.variables:
        if v.path in arrays:
            v.assign(arrays[v.path])
    filled = from_keras({v.path: v for v in model.variables})
    assert_same(to_keras(filled), arrays)

    renamed = to_keras(rename(filled, list(from_keras({v.path: v for v in fresh.variables}))))
    for v in fresh.variables:
        v.assign(renamed.get(v.path, v))
    assert_same(list(from_keras({v.path: v for v in fresh.variables}).values()), list(filled.values()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5") as file:
        read = from_keras(file)
    # There each layer has a group of its own, in which its variables have their paths.
    assert len(read) == len(filled)
    for path, own in read.items():
        assert_same(own, filled[path[path.index("/net/") + 1 :]])


def test_a_live_net_of_haiku():
    hk = pytest.importorskip("haiku")

    def forward(x, train):
        x = hk.BatchNorm(True, True, 0.9, name="stem")(hk.Conv2D(4, 3)(x), train)
        x = hk.BatchNorm(False, True, 0.9)(hk.Linear(3)(x.mean((1, 2))), train)
        return hk.LayerNorm(-1, True, True)(x)

    net = hk.transform_with_state(forward)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 5, 2)), jnp.float32)
    with lenient():
        params, state = net.init(jax.random.key(0), x, True)
        _, state = net.apply(params, state, None, x, True)
        found = from_haiku(params, state)
        assert list(found) == ["stem", "batch_norm"]
        own = to_haiku(found, decay=0.9, ndim={"stem": 4, "batch_norm": 2})
        expected = net.apply(params, state, None, x, False)[0]
        merged = {**params, **own[0]}, {**state, **own[1]}
        assert jax.tree.structure(merged) == jax.tree.structure((params, state))
        assert_close(net.apply(*merged, None, x, False)[0], expected, 1e-6)
        new = to_haiku(changed(found), decay=0.9, ndim={"stem": 4, "batch_norm": 2})
        assert np.abs(net.apply({**params, **new[0]}, {**state, **new[1]}, None, x, False)[0] - expected).max() > 0.01


@pytest.mark.parametrize("mode", ["batch", "ema"])
def test_a_live_net_of_equinox(mode):
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        stem: eqx.nn.BatchNorm
        layers: list
        norm: eqx.nn.LayerNorm

        def __init__(self, key):
            self.stem = eqx.nn.BatchNorm(3, "batch", mode=mode, channelwise_affine=False)
            self.layers = [eqx.nn.Linear(3, 3, key=key), {"bn": eqx.nn.BatchNorm(3, "batch", mode=mode, momentum=0.5)}]
            self.norm = eqx.nn.LayerNorm(3)

        def __call__(self, x, state, inference):
            x, state = self.stem(x, state, inference=inference)
            x, state = self.layers[1]["bn"](self.layers[0](x), state, inference=inference)
            return self.norm(x), state

    def run(model, state, inference):
        mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None, None), out_axes=(0, None))
        with lenient():
            return mapped(x, state, inference)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)) + 1, jnp.float32)
    model, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    fresh, empty = eqx.nn.make_with_state(Net)(jax.random.key(0))
    _, state = run(model, state, False)
    found = from_equinox(model, state)
    assert list(found) == ["stem", "layers.1.bn"]
    assert [own[1].count for own in found.values()] == [1, 1]

    before = jax.tree.map(np.array, (fresh, empty))
    filled, full = to_equinox(found, into=(fresh, empty))
    assert_same(before, jax.tree.map(np.array, (fresh, empty)))
    assert jax.tree.structure((filled, full)) == jax.tree.structure((fresh, empty))
    assert_close(from_equinox(filled, full), found, 2e-7)
    assert_close(run(filled, full, True)[0], run(model, state, True)[0], 1e-6)
    assert_close(run(filled, full, False)[0], run(model, state, False)[0], 1e-6)

    some, full = to_equinox({"layers.1.bn": changed(found)["layers.1.bn"]}, into=(filled, full))
    again = from_equinox(some, full)
    assert_close(again["stem"], found["stem"], 2e-7)
    assert_close(again["layers.1.bn"][0], changed(found)["layers.1.bn"][0], 0)
    with pytest.raises(ValueError, match=r"`into` must hold a batch norm at 'bn', got 'stem', 'layers.1.bn'; call"):
        to_equinox({"bn": found["stem"]}, into=(model, state))
    with pytest.raises(ValueError, match=r"`into` must have at 'stem' what the layer has, 'bias', 'hidden_mean', 'h"):
        to_equinox({"stem": found["layers.1.bn"]}, into=(model, state))
