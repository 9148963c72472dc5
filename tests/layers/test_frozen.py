"""A frozen layer evaluates while the rest of its net trains."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

import jaxbn.linen
import jaxbn.nnx
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

X = noise(8, 3, mean=2.0, std=3.0)


class LinenNet(nn.Module):
    frozen: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4)(x)
        x = jaxbn.linen.BatchNorm(use_running_average=self.frozen or not train)(x)
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))


def test_linen():
    """As in the docs: `use_running_average=self.frozen or not train`."""
    variables = LinenNet().init(jax.random.key(0), X, train=False)
    _, updates = LinenNet().apply(variables, X, train=True, mutable="batch_stats", rngs={"dropout": jax.random.key(1)})
    variables |= updates
    frozen = LinenNet(frozen=True)

    def loss(params):
        rngs = {"dropout": jax.random.key(2)}
        y, new = frozen.apply(variables | {"params": params}, X, train=True, mutable="batch_stats", rngs=rngs)
        return jnp.sum(y**2), new

    gradient, new = jax.grad(loss, has_aux=True)(variables["params"])
    assert_same(new["batch_stats"], variables["batch_stats"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["Dense_0"]))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first, self.norm = nnx.Linear(3, 4, rngs=rngs), jaxbn.nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.first(x)))


def test_nnx():
    """As in the docs: `model.set_attributes(BatchNorm, use_running_average=True)`, after every `model.train()`."""
    model = NnxNet(nnx.Rngs(0))
    model(X)
    model.train()
    model.set_attributes(jaxbn.nnx.BatchNorm, use_running_average=True)
    before = model.norm.mean[...], model.norm.var[...]
    gradient = nnx.grad(lambda model: jnp.sum(model(X) ** 2))(model)
    assert_same((model.norm.mean[...], model.norm.var[...]), before)
    assert not model.dropout.deterministic
    assert np.any(gradient["first"]["kernel"][...])
    x = X @ np.ones((3, 4), "float32")
    assert_close(model.norm(x), reference.normalize(x, *map(np.asarray, before)), TOLERANCE["float32"])
    model.train()
    model(X)
    assert np.all(model.norm.mean[...] != before[0])
