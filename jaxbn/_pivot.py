"""The pivot of each feature: a value of the data near its mean."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn._numbers import real_parts, statistics_dtype
from jaxbn._reduce.plain import beside, others

# More rows than this are no batch of a step, but data, whose first rows may be padding.
_ROWS = 2**13


def choose_pivot(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The median of three values.

    It is one of the values (of complex ones by parts), so that those of a constant feature deviate from it by exactly
    0; and one value far off is no median. How near it lies to the mean costs digits and nothing else: at `k` standard
    deviations the variance loses a factor of `1 + k**2` of the precision. Of independent values at most `3 / k**4` of
    all medians lie so far off (Chebyshev); where two of the three are the only ones of their kind among `n`, `k**2` is
    `n / 2`.

    It takes no loop over the batch. Where devices share the leading axis, the first one holds all three, so that they
    go to the others in one message.
    """
    if x.size == 0:
        return jnp.zeros([x.shape[a] for a in axes], statistics_dtype(x.dtype))
    parts = [_median_of_three(part, others(x, axes)) for part in real_parts(x)]
    return parts[0] if len(parts) == 1 else lax.complex(*parts)


def weighted_pivot(x: jax.Array, axes: Sequence[int], weights: jax.Array, count: jax.Array) -> jax.Array:
    """Of what has weight, the value nearest to the mean, which is within a standard deviation of it; 0 without any.

    Again it is one of the values. A mean would be rounded, and compiled into several loops not the same in each.
    """
    parts = [_nearest_to_mean(part, axes, weights, count) for part in real_parts(x)]
    return parts[0] if len(parts) == 1 else lax.complex(*parts)


def _nearest_to_mean(x: jax.Array, axes: Sequence[int], weights: jax.Array, count: jax.Array) -> jax.Array:
    reduced, valid = others(x, axes), weights > 0
    mean = jnp.sum(weights * x, reduced) / jnp.where(count == 0, 1, count)
    below = x <= beside(mean, x, axes)
    under = jnp.max(x, reduced, initial=-jnp.inf, where=valid & below)
    over = jnp.min(x, reduced, initial=jnp.inf, where=valid & ~below)
    nearest = jnp.where(mean - under <= over - mean, under, over)
    return jnp.where(jnp.isinf(nearest), 0, nearest)


def _median_of_three(x: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    # What is known to be shared by devices can't be cut.
    cut = tuple(d for d in reduced if jax.typeof(x).sharding.spec[d] is None)
    long = [d for d in cut if d != reduced[0] and _length(x, d) >= 3]
    if long:
        third = _length(x, long[-1]) // 3
        middle = {d: slice(0 if d == reduced[0] else _length(x, d) // 2, None) for d in cut}
        values = _few(x, middle | {long[-1]: slice(third // 2, third // 2 + 2 * third + 1, third)})
        # The leading axis is out of the way first, or devices that share it would exchange more.
        first = tuple(d for d in cut if d == reduced[0])
        median = _second_least(values.squeeze(first), [d - len(first) for d in cut if d not in first])
    else:
        a, b, c = (_few(x, {d: slice(_row(_length(x, d), i), None) for d in cut}).squeeze(cut) for i in range(3))
        median = jnp.maximum(jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), c))
    left = tuple(d - sum(c < d for c in cut) for d in reduced if d not in cut)
    return jnp.min(median, left) if left else median


def _row(size: int, number: int) -> int:
    """Of a batch one of the first rows; of more than a batch has, far apart, since there neighbours may be alike."""
    return min(number, size - 1) if size <= _ROWS else size * (2 * number + 1) // 6


def _length(x: jax.Array, axis: int) -> int:
    """Of an axis of unknown length, the first value is all that is certain to be there."""
    return x.shape[axis] if isinstance(x.shape[axis], int) else 1


def _few(x: jax.Array, places: dict[int, slice]) -> jax.Array:
    """By one slice, with one value along an axis whose place has no end."""
    chosen = [places.get(d, slice(0, n, 1)) for d, n in enumerate(x.shape)]
    stops = [s.start + 1 if s.stop is None else s.stop for s in chosen]
    few = lax.slice(x, [s.start for s in chosen], stops, [s.step or 1 for s in chosen])
    return few.astype(statistics_dtype(x.dtype))


def _second_least(values: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Of three values, the median. By a single reduction, since on a TPU every step has its price."""

    def merge(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
        return jnp.minimum(a[0], b[0]), jnp.minimum(jnp.maximum(a[0], b[0]), jnp.minimum(a[1], b[1]))

    most = jnp.array(jnp.inf, values.dtype)
    return lax.reduce((values, jnp.full_like(values, most)), (most, most), merge, axes)[1]
