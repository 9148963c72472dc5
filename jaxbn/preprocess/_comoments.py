"""Moments of all features together, which merge like those of every feature for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn._pivoted import Pivoted, of_batch
from jaxbn.preprocess import _checks as _own
from jaxbn.preprocess.scale import merge_two


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
    scatter = _scatter(rows - pivot[None] - offset[None], weights)
    moments = Pivoted(pivot, count, offset, jnp.diagonal(scatter))
    return Comoments(jax.tree.map(lambda part: part.reshape(features), moments), scatter)


def _scatter(deviations: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The sum of their outer products."""
    weighted = deviations if weights is None else jnp.where(weights > 0, weights * deviations, 0)
    return dot(weighted.T, deviations)


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
