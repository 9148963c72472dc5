"""Moments of all features together, which merge like those of every feature for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxbn._pivoted import Pivoted, of_batch
from jaxbn.preprocess import _checks as _own
from jaxbn.preprocess.scale import merge_two

# Rows of which the deviations stay in the cache, and columns below which a block of a product is too small to be fast.
_ROWS, _COLUMNS = 2000, 128


class Comoments(NamedTuple):
    """Moments `[*features]` and the sum of outer products of deviations, `[size, size]`."""

    moments: Pivoted
    scatter: jax.Array


def comoments(x: jax.Array, weights: jax.Array | None, axes: Sequence[int]) -> Comoments:
    _own.real("x", x)
    features = tuple(x.shape[a] for a in axes)
    _own.some_feature(features)
    rows = jnp.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, math.prod(features))
    if weights is not None:
        _own.mask_of_examples(weights, axes)
        examples = [1 if d in axes else n for d, n in enumerate(x.shape)]
        weights = jnp.broadcast_to(weights, examples).reshape(-1, 1).astype(x.dtype)
    pivot, count, offset, _ = of_batch((1,), rows, rows, weights)
    scatter = _scatter(rows, weights, lambda part: part - pivot[None] - offset[None])
    moments = Pivoted(pivot, count, offset, jnp.diagonal(scatter))
    return Comoments(jax.tree.map(lambda part: part.reshape(features), moments), scatter)


def _scatter(rows: jax.Array, weights: jax.Array | None, deviation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The sum of outer products of the deviations; a part at a time, which stays in the cache."""

    def outer(start: ArrayLike, length: int) -> jax.Array:
        d = deviation(lax.dynamic_slice_in_dim(rows, start, length))
        if weights is None:
            return product(d, d)
        weight = lax.dynamic_slice_in_dim(weights, start, length)
        return product(jnp.where(weight > 0, weight * d, 0), d)

    # On several devices, which may share the rows, every part would be sent to all of them.
    alone = jax.device_count() == 1
    parts, product = (len(rows) // _ROWS, _symmetric_product) if alone else (0, _product)
    rest = outer(parts * _ROWS, len(rows) - parts * _ROWS)
    if parts == 0:
        return rest
    return lax.fori_loop(0, parts, lambda i, total: total + outer(i * _ROWS, _ROWS), rest)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return dot(a.T, b)


def _symmetric_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a.T @ b`, known to be symmetric: of the two blocks off the diagonal, one is computed."""
    half = a.shape[1] // 2
    if half < _COLUMNS:
        return _product(a, b)
    corner = _product(a[:, :half], b[:, half:])
    first, last = _symmetric_product(a[:, :half], b[:, :half]), _symmetric_product(a[:, half:], b[:, half:])
    return jnp.block([[first, corner], [corner.T, last]])


def merge(a: Comoments, b: Comoments) -> Comoments:
    merged = merge_two(a.moments, b.moments)
    return Comoments(merged, about(a, merged) + about(b, merged))


def about(part: Comoments, merged: Pivoted) -> jax.Array:
    """The sum of outer products about another mean: larger by that of the two means, as often as there is data."""
    pivot, count, offset, _ = part.moments
    shift = jnp.where(count > 0, (pivot - merged.pivot) + offset - merged.offset, 0).ravel()
    return part.scatter + (count.ravel() * shift)[:, None] * shift[None]


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
