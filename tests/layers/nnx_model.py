"""A model of one nnx norm."""

from flax import nnx

import jaxbn.nnx
from jaxbn import init_batch_norm

PARAMS, STATE = init_batch_norm(3)


class Model(nnx.Module):
    """One norm, as a part of a model."""

    def __init__(self, **kwargs):
        self.norm = jaxbn.nnx.BatchNorm(3, rngs=nnx.Rngs(0), **kwargs)

    def __call__(self, x):
        return self.norm(x)

    @property
    def statistics(self):
        return self.norm.mean[...], self.norm.var[...]


def call(model, x):
    return model(x)
