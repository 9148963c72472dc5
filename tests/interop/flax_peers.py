"""Live layers of Flax, its own and ours, behind the face of the other peers."""

import jax
import jax.numpy as jnp
import pytest

from jaxbn import presets
from jaxbn.interop import from_linen, from_nnx, to_linen, to_nnx
from tests.interop.peers import FEATURES, Peer, lenient


class Linen(Peer):
    def __init__(self, ndim, affine, *, averaging=None):
        linen = pytest.importorskip("flax.linen")
        self.averaging = averaging or "ema"
        if averaging is None:
            self.layer = linen.BatchNorm(use_scale=affine, use_bias=affine)
        else:
            from jaxbn.linen import BatchNorm

            self.layer = BatchNorm(use_scale=affine, use_bias=affine, averaging=averaging)
            self.options = presets.FLAX | {"averaging": averaging}
        x = jnp.ones([2] * (ndim - 1) + [FEATURES])
        self.variables = self.layer.init(jax.random.key(0), x, use_running_average=True)

    def __call__(self, x, train):
        y, updates = self.layer.apply(
            self.variables, jnp.asarray(x), use_running_average=not train, mutable=["batch_stats"]
        )
        self.variables = {**self.variables, **updates}
        return y

    def convert(self):
        return from_linen(self.variables)

    def load(self, params, state):
        loaded = to_linen(params, state, averaging=self.averaging)
        assert jax.tree.structure(loaded) == jax.tree.structure({**self.variables})
        self.variables = loaded


class NNX(Peer):
    def __init__(self, _ndim, affine, *, averaging=None):
        self.nnx = pytest.importorskip("flax.nnx")
        self.averaging = averaging or "ema"
        kind, more = self.nnx.BatchNorm, {}
        if averaging is not None:
            kind, more = pytest.importorskip("jaxbn.nnx").BatchNorm, {"averaging": averaging}
            self.options = presets.FLAX | more
        self.layer = kind(FEATURES, use_scale=affine, use_bias=affine, rngs=self.nnx.Rngs(0), **more)

    def __call__(self, x, train):
        with lenient():
            return self.layer(jnp.asarray(x), use_running_average=not train)

    def convert(self):
        return from_nnx(self.nnx.to_pure_dict(self.nnx.state(self.layer)))

    def load(self, params, state):
        live = self.nnx.state(self.layer)
        self.nnx.replace_by_pure_dict(live, to_nnx(params, state, averaging=self.averaging))
        self.nnx.update(self.layer, live)
