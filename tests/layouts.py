"""Layouts and data for the two primitives."""

import jax.numpy as jnp
import numpy as np

from tests.data import noise

# Slabs of one size and with a rest, none at all, few features (wide rows first), features in front, two feature axes.
LAYOUTS = [
    ((64, 14, 13, 3), (3,)),
    ((16, 3, 61, 5), (1,)),
    ((4099, 7), (1,)),
    ((4097, 2), (1,)),
    ((3, 2, 2, 70), (3,)),
    ((2, 5, 900, 8), (0, 3)),
    ((0, 4, 3), (2,)),
    ((5, 1), (1,)),
    ((3,), (0,)),
]


def features(shape, axes):
    return [shape[a] for a in axes]


def beside(value, shape, axes):
    """In NumPy, as it broadcasts."""
    return np.asarray(value).reshape([n if d in axes else 1 for d, n in enumerate(shape)])


def problem(shape, axes, dtype="float32"):
    """The batch, the two numbers of its center, and what is to be summed and to be spread."""
    x, values = (jnp.asarray(noise(*shape, dtype=dtype, seed=s)) for s in (0, 1))
    numbers = [jnp.asarray(noise(*features(shape, axes), dtype=dtype, seed=s)) for s in (2, 3, 4, 5)]
    return x, tuple(numbers[:2]), values, numbers[2:]
