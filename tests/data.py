"""Where the tests get their random numbers from."""

import jax.numpy as jnp
import numpy as np


def noise(*shape, mean=0.0, std=1.0, dtype="float32", seed=0):
    """Normal values in NumPy; in a complex dtype, an imaginary part of the same spread about 0."""
    real, imaginary = std * np.random.default_rng(seed).normal(size=(2, *shape))
    dtype = jnp.dtype(dtype)
    return (mean + real + (1j * imaginary if dtype.kind == "c" else 0)).astype(dtype)
