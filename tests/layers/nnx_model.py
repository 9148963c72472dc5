"""A model of one nnx norm, and what it has to remember."""

import numpy as np
from flax import nnx

import jaxbn.nnx
from jaxbn import init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE

X = noise(4, 5, 3, mean=3)
EXACT = TOLERANCE["float32"]
PARAMS, STATE = init_batch_norm(3)


def remembered(*batches):
    """Running mean and variance after training on batches, in double precision."""
    return reference.running(np.zeros(3), np.ones(3), 0, [reference.moments(x) for x in batches])[:2]


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
