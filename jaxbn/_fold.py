"""How a sum over the batch is made, so that it is fast on a CPU.

XLA's CPU compiler runs a reduction, with all elementwise work that it takes into it, at a fraction of the speed of an
elementwise loop. So most of a sum is made of elementwise additions of slabs, whose result is written to memory once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

# So many slabs are added up elementwise, too few to lose much; fewer than the least are not worth it.
_SLABS, _LEAST = 8, 4
# A reduction that keeps fewer numbers than this side by side does not use the processor's vectors.
_LANES = 64


def alone() -> bool:
    """Whether there is one device: no value can then lie on another one, whatever the order of a sum."""
    return jax.device_count() == 1


def folded_sum(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """The sum over some axes, which stay with size 1."""
    return plain_sum(folded(values, reduced), reduced)


def folded(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """The sums of up to nine values each, in memory."""
    for axis in local_axes(values, reduced):
        parts = _slabs(values, axis) if alone() else _neighbours(values, axis)
        if len(parts) >= _LEAST:
            while len(parts) > 1:
                parts = [functools.reduce(jnp.add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
            return held(parts[0])
    return values


def held(values: jax.Array) -> jax.Array:
    """The same values, written to memory once.

    XLA's CPU compiler takes what it can into every reduction that reads it, but no choice; and it drops barriers
    before.
    """
    return jnp.where(values == values, values, jnp.nan)


def plain_sum(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """A sum by reductions alone, of wide rows first."""
    inner = inner_axes(values, reduced)
    return jnp.sum(sums_of_rows(values, reduced, inner) if inner else values, inner or reduced, keepdims=True)


def sums_of_rows(values: jax.Array, reduced: Sequence[int], inner: Sequence[int]) -> jax.Array:
    """What is left to be summed over the axes `inner` alone."""
    return held(jnp.sum(values, [d for d in reduced if d not in inner], keepdims=True))


def inner_axes(values: jax.Array, reduced: Sequence[int], sums: int = 1) -> list[int]:
    """The last of the reduced axes, on one device: as many as wide rows and so many sums take, but not all of them."""
    lanes, found = math.prod(n for d, n in enumerate(values.shape) if d not in reduced), 1
    inner: list[int] = []
    for axis in sorted(reduced, reverse=True)[:-1] if alone() else []:
        if lanes >= _LANES and found >= sums:
            break
        inner.append(axis)
        lanes, found = lanes * values.shape[axis], found * values.shape[axis]
    return inner if found >= sums else []


def local_axes(x: jax.Array, axes: Sequence[int]) -> list[int]:
    """Those of the axes along which `x` may be cut, the best first.

    An axis that is known to be sharded is none of them, and the leading one, which is often sharded unknown to the
    program, comes last.
    """
    sharded = jax.typeof(x).sharding.spec
    return sorted((d for d in axes if sharded[d] is None), key=lambda d: d == 0)


def _slabs(values: jax.Array, axis: int) -> list[jax.Array]:
    """Contiguous parts of one size, which add up fast, and the rest, if there is one, filled up with 0."""
    size = values.shape[axis]
    number = max(k for k in range(1, _SLABS + 1) if size % k <= size // k)
    length = size // number
    parts = [lax.slice_in_dim(values, i * length, (i + 1) * length, axis=axis) for i in range(number)]
    if rest := size % number:
        tail = lax.slice_in_dim(values, size - rest, size, axis=axis)
        parts.append(jnp.pad(tail, [(0, (length - rest) * (d == axis)) for d in range(values.ndim)]))
    return parts


def _neighbours(values: jax.Array, axis: int) -> list[jax.Array]:
    """Parts that take turns: whichever devices share the axis equally, no value leaves its own."""
    size = values.shape[axis]
    number = max((k for k in range(1, _SLABS + 1) if size % (k * jax.device_count()) == 0), default=1)
    grouped = values.reshape(*values.shape[:axis], size // number, number, *values.shape[axis + 1 :])
    return [lax.index_in_dim(grouped, i, axis + 1, keepdims=False) for i in range(number)]
