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
from jax import lax

# Fewer values have no output large enough to show the difference.
_MANY = 1024


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
    high = (values + unit) - unit
    low = jnp.where(high == values, 0, values - high)
    return _sum(high, reduced) + _sum(low, reduced)


@_exact_sum.defjvp
def _(reduced: tuple[int, ...], values: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _exact_sum(*values, reduced), _sum(*tangents, reduced)


def _folded(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    """The sums of up to eight values each, too few to lose much."""
    groups = {d: max(k for k in range(1, 9) if values.shape[d] % k == 0) for d in local_axes(values, reduced)}
    axis = next((d for d, number in groups.items() if number > 3), None)
    if axis is None:
        return values
    if axis == 0:
        # Neighbours, which lie on one device; slabs of contiguous data, as below, are faster.
        parts = list(jnp.moveaxis(values.reshape(-1, groups[0], *values.shape[1:]), 1, 0))
    else:
        parts = jnp.split(values, groups[axis], axis)
    while len(parts) > 1:
        parts = [functools.reduce(jnp.add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
    # Without a barrier the compiler folds anew inside each of the three reductions that follow.
    return lax.optimization_barrier(parts[0])


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
    # The inverse of the largest numbers would be too small for one.
    return 0.5 * jnp.sqrt(4 / x)


@rsqrt.defjvp
def _(x: tuple[jax.Array], tangent: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = rsqrt(*x)
    # One factor after the other: the power itself may be too large or too small for a number.
    return y, -0.5 * (((tangent[0] * y) * y) * y)
