"""Sums that are fast, and a sum of squares and an inverse square root that are right to the last digit.

One value far above the others becomes an output of up to `sqrt(count)`, which shows every digit that they lose: a plain
sum loses some at each step once the large value is in it, and `lax.rsqrt` is off by up to 1.4 units of the last place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Fewer values have no output large enough to show the difference.
_MANY = 1024


def sum_of_values(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """Sum of any values, as exact as a plain one, but faster; the axes stay."""
    return _folded_sum(values, tuple(reduced)) if _count(values, reduced) >= _MANY else _sum(values, reduced)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _folded_sum(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    return _sum(_folded(values, reduced), reduced)


@_folded_sum.defjvp
def _(reduced: tuple[int, ...], values: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _folded_sum(*values, reduced), _sum(*tangents, reduced)


def sum_of_squares(squares: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """Sum of non-negative values; the axes stay. Its derivative is that of a plain sum."""
    return _exact_sum(squares, tuple(reduced)) if _count(squares, reduced) >= _MANY else _sum(squares, reduced)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _exact_sum(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    """Algorithm 3.3 of Rump, Ogita and Oishi, "Accurate floating-point summation I", SIAM J. Sci. Comput. 31, 2008.

    The high parts are multiples of one unit so large that their sum has no digit to lose; the low parts are so small
    that what theirs loses does not matter.
    """
    values = _folded(values, reduced)
    unit = float(_count(values, reduced)) * jnp.max(values, reduced, keepdims=True)
    # Near the end of the range there is no room for it.
    unit = jnp.where(jnp.isfinite(2 * unit), unit, 0)
    high = _held((values + unit) - unit)
    low = jnp.where(high == values, 0, values - high)
    return _sum(high, reduced) + _sum(low, reduced)


@_exact_sum.defjvp
def _(reduced: tuple[int, ...], values: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _exact_sum(*values, reduced), _sum(*tangents, reduced)


def _folded(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    """The sums of up to nine values each, too few to lose much."""
    for axis in local_axes(values, reduced):
        parts = _slabs(values, axis) if jax.device_count() == 1 else _neighbours(values, axis)
        if len(parts) > 3:
            while len(parts) > 1:
                parts = [functools.reduce(jnp.add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
            return _held(parts[0])
    return values


def _held(values: jax.Array) -> jax.Array:
    """The same values, written to memory once.

    XLA's CPU compiler takes what it can into every reduction that reads it, where it runs at a fraction of the speed,
    but no choice; and it drops barriers before.
    """
    return jnp.where(values == values, values, jnp.nan)


def _slabs(values: jax.Array, axis: int) -> list[jax.Array]:
    """Contiguous parts of one size, which add up fast, and the rest, if there is one, filled up with 0."""
    size = values.shape[axis]
    number = max(k for k in range(1, 9) if size % k <= size // k)
    length = size // number
    parts = [lax.slice_in_dim(values, i * length, (i + 1) * length, axis=axis) for i in range(number)]
    if rest := size % number:
        tail = lax.slice_in_dim(values, size - rest, size, axis=axis)
        parts.append(jnp.pad(tail, [(0, (length - rest) * (d == axis)) for d in range(values.ndim)]))
    return parts


def _neighbours(values: jax.Array, axis: int) -> list[jax.Array]:
    """Parts that take turns: whichever devices share the axis equally, no value leaves its own."""
    size = values.shape[axis]
    number = max((k for k in range(1, 9) if size % (k * jax.device_count()) == 0), default=1)
    grouped = values.reshape(*values.shape[:axis], size // number, number, *values.shape[axis + 1 :])
    return [lax.index_in_dim(grouped, i, axis + 1, keepdims=False) for i in range(number)]


def local_axes(x: jax.Array, axes: Sequence[int]) -> list[int]:
    """Those of the axes along which `x` may be cut, the best first.

    An axis that is known to be sharded is none of them, and the leading one, which is often sharded unknown to the
    program, comes last.
    """
    sharded = jax.typeof(x).sharding.spec
    return sorted((d for d in axes if sharded[d] is None), key=lambda d: d == 0)


def _sum(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    return jnp.sum(values, reduced, keepdims=True)


def _count(x: jax.Array, reduced: Sequence[int]) -> int:
    return math.prod(x.shape[d] for d in reduced)


@jax.custom_jvp
def rsqrt(x: jax.Array) -> jax.Array:
    """`1 / sqrt(x)`, off by at most 0.85 units of the last place: the root halves the error of the quotient."""
    # The inverse of the largest numbers would be too small for one; of the smallest, four of it are too large.
    least = np.nextafter(jnp.finfo(x.dtype).tiny, 1, dtype=x.dtype)
    return 0.5 * jnp.sqrt(4 / jnp.maximum(x, least))


@rsqrt.defjvp
def _(x: tuple[jax.Array], tangent: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = rsqrt(*x)
    # One factor after the other: the power itself may be too large or too small for a number.
    return y, -0.5 * (((tangent[0] * y) * y) * y)
