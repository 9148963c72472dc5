"""What the backward pass keeps: of each batch `x` as it came, its weights as they came, and numbers of each feature."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxbn import _reduce
from jaxbn._numbers import is_valid
from jaxbn._reduce.primitives import Center

# What is made of `x` and its weights alone is made again, rather than kept beside them.
_made_again = functools.partial(jax.checkpoint, prevent_cse=False)


def counted(x: jax.Array, weights: jax.Array | None) -> jax.Array:
    """`x` where it counts, and 0 elsewhere, before any arithmetic: of a NaN there, every gradient would be 0 * NaN."""
    return x if weights is None else _counted(x, weights)


def weighted(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Values times their weights; a negative one is 0."""
    return values if weights is None else _weighted(values, weights)


def project(
    values: jax.Array, x: jax.Array, weights: jax.Array | None, center: Center, axes: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """`_reduce.project` with 0 for the masked values of `x`."""
    if weights is None:
        return _reduce.project(values, x, center, axes)
    return _made_again(lambda v, x, w, c: _reduce.project(v, _chosen(x, w), c, axes))(values, x, weights, center)


def expand(
    constant: jax.Array,
    slope: jax.Array,
    x: jax.Array,
    weights: jax.Array | None,
    center: Center,
    axes: Sequence[int],
) -> jax.Array:
    """`_reduce.expand` with 0 for the masked values of `x`."""
    if weights is None:
        return _reduce.expand(constant, slope, x, center, axes)
    again = _made_again(lambda a, b, x, w, c: _reduce.expand(a, b, _chosen(x, w), c, axes))
    return again(constant, slope, x, weights, center)


def _chosen(x: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.where(is_valid(weights), x, jnp.zeros((), x.dtype))


_counted = jax.custom_jvp(_chosen)


@_counted.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _counted(*primals), _made_again(_chosen)(tangents[0], primals[1])


@_made_again
def _weighted(values: jax.Array, weights: jax.Array) -> jax.Array:
    return _chosen(weights, weights).astype(values.dtype) * values
