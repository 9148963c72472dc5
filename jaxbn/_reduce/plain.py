"""The lowering for every platform: each is one loop over the batch, as XLA likes it best on a GPU and a TPU."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def project(
    values: jax.Array, x: jax.Array, pivot: jax.Array, offset: jax.Array, *, axes: Sequence[int]
) -> list[jax.Array]:
    reduced = others(x, axes)
    return [jnp.sum(values, reduced), jnp.sum(values * centered(x, pivot, offset, axes), reduced)]


def expand(
    constant: jax.Array, slope: jax.Array, x: jax.Array, pivot: jax.Array, offset: jax.Array, *, axes: Sequence[int]
) -> list[jax.Array]:
    return [centered(x, pivot, offset, axes) * beside(slope, x, axes) + beside(constant, x, axes)]


def centered(x: jax.Array, pivot: jax.Array, offset: jax.Array, axes: Sequence[int]) -> jax.Array:
    return x.astype(pivot.dtype) - beside(pivot, x, axes) - beside(offset, x, axes)


def beside(value: jax.Array, x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """`[features]` as it broadcasts against `x`."""
    return jnp.expand_dims(value, others(x, axes))


def others(x: jax.Array, axes: Sequence[int]) -> tuple[int, ...]:
    """All axes but these."""
    return tuple(d for d in range(x.ndim) if d not in axes)
