"""Where the features lie: between arrays `[features]` and arrays that broadcast against the data."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def ascending(value: jax.Array, axes: Sequence[int]) -> jax.Array:
    """`[features]` in the order of `axes` -> in the order in which the feature axes lie in the data."""
    return value.transpose(np.argsort(axes))


def as_given(value: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The inverse of `ascending`."""
    return value.transpose(np.argsort(np.argsort(axes)))


def shared_alike(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as they are, sharded alike: a choice between arrays that are not is refused."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    return a + jnp.zeros_like(b, a.dtype), b + jnp.zeros_like(a, b.dtype)


def from_data_layout(value: jax.Array, axes: Sequence[int]) -> jax.Array:
    """`[1, features, 1, ...]` as it broadcasts against the data -> `[features]` in the order of `axes`."""
    return as_given(value.reshape([value.shape[d] for d in sorted(axes)]), axes)


def to_data_layout(value: jax.Array, axes: Sequence[int], ndim: int) -> jax.Array:
    """`[features]` in the order of `axes` -> `[1, features, 1, ...]` that broadcasts against the data."""
    return jnp.expand_dims(ascending(value, axes), [d for d in range(ndim) if d not in axes])
