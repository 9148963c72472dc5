"""Sums about a pivot, so that no digit is lost to a mean that is far from 0.

Squares of raw data are never summed. Each feature is first shifted by a pivot close to its mean, where the
subtraction `x - pivot` is exact (Sterbenz); how far the mean lies from the pivot is a small number of its own, and
never added to it. A mean of 1e6 standard deviations then costs no digit of the variance or of the normalised output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn._exact import sum_of_squares
from jaxbn._fold import local_axes
from jaxbn._sums import spread, total

# The pivot is the mean of one in 16 along an axis that is long enough to be sampled.
_SHARE, _SAMPLED_FROM = 16, 6


def choose_pivot(x: jax.Array, reduced: Sequence[int], weights: jax.Array | None) -> jax.Array:
    """A number near the mean of each feature, and equal to the values where all are equal.

    Without weights, the mean over a share `s` of the data: it lies at most `1 / sqrt(s)` standard deviations from the
    mean of all (Cauchy-Schwarz), whatever the data, so that sums about it lose at most some bits. The rounding of that
    mean does not matter, except for equal values; deviations from one of them, the anchor, are then exactly 0.
    """
    if x.size == 0:
        return jnp.zeros([1 if d in reduced else n for d, n in enumerate(x.shape)], x.dtype)
    if weights is None:
        local = local_axes(x, reduced)
        long = [d for d in local if x.shape[d] >= _SAMPLED_FROM]
        if long:
            x = lax.slice_in_dim(x, 0, -(-x.shape[long[0]] // _SHARE), axis=long[0])
        anchor = x[tuple(slice(1) if d in local else slice(None) for d in range(x.ndim))]
        if len(local) < len(reduced):
            anchor = _largest(anchor, None, reduced)
    else:
        anchor = _largest(x, weights, reduced)
    return anchor + means_about(x, anchor, reduced, weights)[1]


def means_about(
    x: jax.Array, pivot: jax.Array, reduced: Sequence[int], weights: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count, and means of `x - pivot` and of its square, where there are weights with those."""
    deviation = x - spread(pivot, x)
    if weights is None:
        count = jnp.full_like(pivot.real, math.prod(x.shape[d] for d in reduced))
        sums = total(deviation, reduced), sum_of_squares(abs_square(deviation), reduced)
    else:
        weight = jnp.broadcast_to(weights, x.shape).astype(x.real.dtype)
        count, deviation = total(weight, reduced), jnp.where(is_valid(weight), deviation, 0)
        sums = (
            total(weight.astype(x.dtype) * deviation, reduced),
            sum_of_squares(weight * abs_square(deviation), reduced),
        )
    divisor = jnp.where(count > 0, count, 1)
    return count, sums[0] / divisor.astype(x.dtype), sums[1] / divisor


def _largest(x: jax.Array, weights: jax.Array | None, reduced: Sequence[int]) -> jax.Array:
    """The largest value that counts, of complex ones by parts, or 0 where none does."""
    valid = None if weights is None else jnp.broadcast_to(is_valid(weights), x.shape)
    parts = (jnp.max(part, reduced, keepdims=True, initial=-jnp.inf, where=valid) for part in real_parts(x))
    found = [jnp.where(jnp.isneginf(part), 0, part) for part in parts]
    return found[0] if len(found) == 1 else lax.complex(*found)


def is_valid(weights: jax.Array) -> jax.Array:
    """Where the weights, or the booleans, are not 0."""
    return weights if weights.dtype == jnp.bool_ else weights > 0


def real_parts(x: jax.Array) -> list[jax.Array]:
    """The one real array, or the two, that `x` is made of."""
    return [x.real, x.imag] if jnp.iscomplexobj(x) else [x]


def abs_square(x: jax.Array) -> jax.Array:
    """`|x|**2`, without the square root that `abs` takes of a complex number."""
    return functools.reduce(jnp.add, (lax.square(part) for part in real_parts(x)))
