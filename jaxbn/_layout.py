"""Where the features lie: between arrays `[features]` and arrays that broadcast against the data."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def statistics_dtype(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype in which values of `dtype` are summed: at least single precision, complex for complex."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def from_data_layout(value: jax.Array, axes: Sequence[int]) -> jax.Array:
    """`[1, features, 1, ...]` as it broadcasts against the data -> `[features]` in the order of `axes`."""
    value = value.reshape([value.shape[d] for d in sorted(axes)])
    return value.transpose(np.argsort(np.argsort(axes)))


def to_data_layout(value: jax.Array, axes: Sequence[int], ndim: int) -> jax.Array:
    """`[features]` in the order of `axes` -> `[1, features, 1, ...]` that broadcasts against the data."""
    value = value.transpose(np.argsort(axes))
    return jnp.expand_dims(value, [d for d in range(ndim) if d not in axes])
