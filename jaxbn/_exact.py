"""A sum of squares and an inverse square root that are right to the last digit.

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

from jaxbn._fold import folded, held, inner_axes, plain_sum, sums_of_rows
from jaxbn._sums import total, total_of_tangent

# Fewer values have no output large enough to show the difference.
_MANY = 1024
# In so many parts, hardly one makes up a quarter of the sum unless a value stands out.
_PARTS = 8


def sum_of_squares(squares: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """Sum of non-negative values; the axes stay. Its derivative is that of a plain sum."""
    return _exact_sum(squares, tuple(reduced)) if _count(squares, reduced) >= _MANY else total(squares, reduced)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _exact_sum(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    """Right to the last digit where one value makes up much of the sum, and can be far above the others.

    Elsewhere a plain sum is right enough, since no output is large. On a CPU it is first, because it costs half.
    """
    values = folded(values, reduced)
    inner = inner_axes(values, reduced, _PARTS) if jax.default_backend() == "cpu" else []
    if not inner:
        return _split_sum(values, reduced)
    parts = sums_of_rows(values, reduced, inner)
    whole, largest = jnp.sum(parts, inner, keepdims=True), jnp.max(parts, inner, keepdims=True)
    return lax.cond(jnp.any(largest > whole / 4), lambda: _split_sum(values, reduced), lambda: whole)


def _split_sum(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """Algorithm 3.3 of Rump, Ogita and Oishi, "Accurate floating-point summation I", SIAM J. Sci. Comput. 31, 2008.

    The high parts are multiples of one unit so large that their sum has no digit to lose; the low parts are so small
    that what theirs loses does not matter.
    """
    unit = float(_count(values, reduced)) * jnp.max(values, reduced, keepdims=True)
    # Near the end of the range there is no room for it.
    unit = jnp.where(jnp.isfinite(2 * unit), unit, 0)
    high = held((values + unit) - unit)
    low = jnp.where(high == values, 0, values - high)
    return plain_sum(high, reduced) + plain_sum(low, reduced)


@_exact_sum.defjvp
def _(reduced: tuple[int, ...], values: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _exact_sum(*values, reduced), total_of_tangent(*tangents, reduced)


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
