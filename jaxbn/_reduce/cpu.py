"""The lowering for a CPU.

XLA's CPU compiler runs a reduction, with all elementwise work that it takes into it, at a fraction of the speed of an
elementwise loop. So most of a sum is made of elementwise additions of slabs, whose result is written to memory once.
And numbers of each feature are computed before the loop that needs them, not in it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn._reduce import plain
from jaxbn._reduce.plain import beside, others

# So many slabs are added up elementwise, too few to lose much; fewer than the least are not worth it.
_SLABS, _LEAST = 8, 4
# A reduction that keeps fewer numbers than this side by side does not use the processor's vectors.
_LANES = 64


# Between a small array, where the call of a reduction takes longer than the sum, and so many values for each feature,
# the slabs take more time to compile than they save. Where several devices share the array, each needs a large part.
_SMALL, _MANY, _PART = 2**13, 2**12, 2**17


def pays(shape: Sequence[Any], axes: Sequence[int], devices: int) -> bool:
    """Whether slabs are worth it, and can be made: of an axis of unknown length they can't."""
    if not all(isinstance(n, int) for n in shape):
        return False
    size, many = math.prod(shape), math.prod(n for d, n in enumerate(shape) if d not in axes) >= _MANY
    return many and size >= devices * _PART if devices > 1 else many or size <= _SMALL


def project(
    values: jax.Array, x: jax.Array, pivot: jax.Array, offset: jax.Array, *, axes: Sequence[int], devices: int
) -> list[jax.Array]:
    """As the plain one, where so many devices may share the batch, along whatever axes."""
    along = values * (x.astype(pivot.dtype) - beside(_apart(pivot), x, axes))
    total, along = (_folded_sum(part, others(x, axes), devices) for part in (values, along))
    # One subtraction of each value is enough: the offset is small.
    return [total, along - offset * total]


def expand(
    constant: jax.Array,
    slope: jax.Array,
    x: jax.Array,
    pivot: jax.Array,
    offset: jax.Array,
    *,
    axes: Sequence[int],
    devices: int,
) -> list[jax.Array]:
    """As the plain one, where so many devices may share the batch, along whatever axes."""
    if devices == 1:  # Of a part of a batch it saves nothing.
        constant, slope, pivot, offset = map(_apart, (constant, slope, pivot, offset))
    return plain.expand(constant, slope, x, pivot, offset, axes=axes)


def _apart(value: jax.Array) -> jax.Array:
    """The same numbers, computed once for each feature, and not anew for each value that they are combined with.

    XLA does not take a division into a loop that would repeat it.
    """
    return value if jnp.iscomplexobj(value) else value / jnp.where(value == value, jnp.ones_like(value), jnp.nan)


def _folded_sum(values: jax.Array, axes: Sequence[int], devices: int) -> jax.Array:
    values = _folded(values, axes, devices)
    inner = _inner_axes(values, axes) if devices == 1 else []
    if inner:
        values = _halved(_held(jnp.sum(values, [d for d in axes if d not in inner], keepdims=True)), inner)
    return jnp.sum(values, inner or axes, keepdims=True).squeeze(axes)


def _halved(values: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Half added to half, as long as it goes: added one by one, small ones are lost beside one that is large."""
    for axis in axes:
        while values.shape[axis] % 2 == 0 and values.shape[axis] > 0:
            halves = (
                lax.slice_in_dim(values, i, i + values.shape[axis] // 2, axis=axis)
                for i in (0, values.shape[axis] // 2)
            )
            values = jnp.add(*halves)
    return values


def _folded(values: jax.Array, axes: Sequence[int], devices: int) -> jax.Array:
    """The sums of up to nine values each, in memory."""
    # Last comes the axis that devices are likeliest to share.
    shared = min(axes, default=0) if devices > 1 else 0
    for axis in sorted(axes, key=lambda d: d == shared):
        parts = _slabs(values, axis) if devices == 1 else _scattered_slabs(values, axis, devices)
        if len(parts) >= _LEAST:
            while len(parts) > 1:
                parts = [functools.reduce(jnp.add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
            return _held(parts[0])
    return values


def _held(values: jax.Array) -> jax.Array:
    """The same values, written to memory once.

    XLA's CPU compiler takes what it can into every reduction that reads it, but no choice; and it drops barriers
    before.
    """
    return jnp.where(values == values, values, jnp.nan)


def _inner_axes(values: jax.Array, axes: Sequence[int]) -> list[int]:
    """The last of the axes: as many as wide rows take, but not all of them."""
    lanes = math.prod(n for d, n in enumerate(values.shape) if d not in axes)
    inner: list[int] = []
    for axis in sorted(axes, reverse=True)[:-1]:
        if lanes >= _LANES:
            break
        inner.append(axis)
        lanes *= values.shape[axis]
    return inner


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


def _scattered_slabs(values: jax.Array, axis: int, devices: int) -> list[jax.Array]:
    """Every eighth value, the next ones, and so on: of each, every device that shares the axis has its part."""
    before, size, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    number = max((k for k in range(1, _SLABS + 1) if size % (k * devices) == 0), default=1)
    groups = values.reshape(*before, size // number, number, *after)
    return [lax.index_in_dim(groups, i, axis + 1, keepdims=False) for i in range(number)]
