"""Statistics that keep every digit, however far from 0 the data lie.

Squares of raw data are never summed. Each feature is first shifted by a pivot, a value of the data near its mean, where
the subtraction `x - pivot` is exact (Sterbenz); how far the mean lies from the pivot is a small number of its own, and
never added to it. A mean of 1e6 standard deviations then costs no digit of the variance or of the normalised output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbn import _checks
from jaxbn._numbers import abs_square, real_parts
from jaxbn._pivot import choose_pivot, weighted_pivot
from jaxbn._reduce.plain import beside, others
from jaxbn._reduce.sharing import by_devices
from jaxbn._residuals import project, weighted

AxisName = Hashable
Groups = Sequence[Sequence[int]] | None


class Pivoted(NamedTuple):
    """Moments about a pivot; the arrays are `[features]`."""

    pivot: jax.Array
    count: jax.Array  # type: ignore[assignment]  # the field's name hides tuple.count
    offset: jax.Array  # the mean minus the pivot
    m2: jax.Array

    @property
    def center(self) -> tuple[jax.Array, jax.Array]:
        """The mean as two numbers: for what is subtracted."""
        return self.pivot, self.offset

    @property
    def mean(self) -> jax.Array:
        """Rounded to one number: for what is kept, never for what is subtracted."""
        return self.pivot + self.offset

    @property
    def var(self) -> jax.Array:
        """Biased; 0 without data."""
        return self.m2 / divisor(self.count)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def of_batch(axes: tuple[int, ...], x: jax.Array, wide: jax.Array, weights: jax.Array | None) -> Pivoted:
    """The statistics over all axes but the feature axes.

    Args:
        axes: the feature axes, in ascending order.
        x: the batch.
        wide: `x` with 0 where it is masked, in the precision of the statistics. The gradient flows through `wide`, so
            that its parts are added in that precision. The backward pass reads the values from `x`, which it keeps
            because it is smaller.
        weights: `None`, or booleans or weights that broadcast against `x`; no gradient flows to them.
    """
    return _of_batch(axes, x, wide, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _of_batch(axes: tuple[int, ...], x: jax.Array, wide: jax.Array, weights: jax.Array | None) -> Pivoted:
    operands = (x, wide) if weights is None else (x, wide, weights)
    return Pivoted(*_statistics.bind(*operands, axes=axes))


def _whole(x: jax.Array, wide: jax.Array, weights: jax.Array | None = None, *, axes: Sequence[int]) -> Pivoted:
    reduced = others(x, axes)
    if weights is None:
        pivot = choose_pivot(x, axes)
        count = jnp.full_like(pivot.real, math.prod(x.shape[d] for d in reduced))
    else:
        each = weighted(jnp.ones(weights.shape, wide.real.dtype), weights)
        count = _total(each, x, axes)
        pivot = weighted_pivot(wide, axes, each, count)
        count += jnp.zeros_like(pivot.real)  # sharded like the others
    deviation = weighted(wide - beside(pivot, x, axes), weights)
    total, square = project(deviation, x.conj(), weights, (pivot.conj(), jnp.zeros_like(pivot)), axes)
    offset, square = total / divisor(count).astype(total.dtype), square.real
    m2 = jnp.maximum(square - count * abs_square(offset), 0)
    # Squares that overflow make an infinite variance, which is what it is in this precision, not inf - inf.
    return Pivoted(pivot, count, offset, jnp.where(square == jnp.inf, square, m2))


def _of_parts(
    x: jax.Array, wide: jax.Array, weights: jax.Array | None = None, *, axes: Sequence[int], parts: int
) -> Pivoted:
    """The same, merged from so many parts of the leading axis, each with a pivot of its own.

    Where a device holds a part or several, all that it has to send is one message.
    """

    def split(value: jax.Array) -> jax.Array:
        # Weights of one row are those of every part.
        number = min(parts, value.shape[0])
        return value.reshape(number, value.shape[0] // number, *value.shape[1:])

    own = None if weights is None else split(weights)
    return merge(at_hand(_whole(split(x), split(wide), own, axes=(0, *(a + 1 for a in axes)))))


def _total(weights: jax.Array, x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """`[features]`: the weights of all values, where many share one, that many times.

    Nothing of the size of `x` is added: of weights that are known, the compiler would do it, which takes seconds.
    """
    shared = math.prod(x.shape[d] for d in others(x, axes) if weights.shape[d] == 1)
    sums = jnp.sum(weights, others(x, axes))
    return jnp.broadcast_to(sums * jnp.full_like(sums, shared), [x.shape[a] for a in axes])


@_of_batch.defjvp
def _(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Pivoted, Pivoted]:
    """`offset` moves by `mean(wide_dot)`, `m2` by `2 * sum((x - mean) * wide_dot)`.

    The pivot stays: that the statistics do not depend on it is what makes them right.
    """
    x, _, weights = primals
    batch, wide_dot = _of_batch(axes, *primals), weighted(tangents[1], weights)
    total, along = project(wide_dot, x.conj(), weights, (batch.pivot.conj(), batch.offset.conj()), axes)
    offset_dot = total / divisor(batch.count).astype(total.dtype)
    return batch, Pivoted(jnp.zeros_like(batch.pivot), jnp.zeros_like(batch.count), offset_dot, 2 * along.real)


def merge(parts: Pivoted) -> Pivoted:
    """Merge along the leading axis, about the pivot of the first part that holds data."""
    filled = parts.count > 0
    first = jnp.argmax(filled, axis=0, keepdims=True)
    origin = jnp.take_along_axis(jnp.where(filled, parts.pivot, 0), first, axis=0)
    shift = jnp.where(filled, (parts.pivot - origin) + parts.offset, 0)
    count = parts.count.sum(0, keepdims=True)
    total = (parts.count.astype(shift.dtype) * shift).sum(0, keepdims=True)
    offset = total / divisor(count).astype(shift.dtype)
    m2 = jnp.where(filled, parts.m2 + parts.count * abs_square(shift - offset), 0).sum(0)
    return Pivoted(origin[0], count[0], offset[0], m2)


def sync(local: Pivoted, axis_name: AxisName, groups: Groups = None) -> Pivoted:
    """Merge over a mapped axis, with one collective, whose result is known to be the same on every device."""
    everyone = gather(_packed(local), axis_name)
    parts = _unpacked(jnp.moveaxis(everyone, 1, 0))
    if groups is not None:
        same = _same_group(groups, len(everyone))[lax.axis_index(axis_name)]
        same = same.reshape(-1, *[1] * (parts.count.ndim - 1))
        parts = parts._replace(count=jnp.where(same, parts.count, 0))
    return merge(parts)


def at_hand(parts: Pivoted) -> Pivoted:
    """The same parts, along the leading axis, before they are merged: where devices share them, all parts on each.

    As indexed by their own numbers: what partitions programs sends all that is indexed in one message, and would send
    one for every sum of a merge.
    """
    packed = _packed(parts)
    sharding = jax.typeof(packed).sharding
    names, parts_on, *others_on = sharding.spec
    if parts_on is not None:
        # With its mesh, for the caller need not have set one.
        return _unpacked(jax.sharding.reshard(packed, sharding.update(spec=jax.P(names, None, *others_on))))
    return _unpacked(packed.at[:, jnp.arange(packed.shape[1])].get(mode="promise_in_bounds", unique_indices=True))


def _packed(parts: Pivoted) -> jax.Array:
    pivot, count, offset, m2 = parts
    return jnp.stack([count, m2, *real_parts(pivot), *real_parts(offset)])


def _unpacked(packed: jax.Array) -> Pivoted:
    count, m2, *parts = packed
    pivot, offset = parts if len(parts) == 2 else (lax.complex(*parts[:2]), lax.complex(*parts[2:]))
    return Pivoted(pivot, count, offset, m2)


def divisor(count: jax.Array) -> jax.Array:
    """The count, or 1 where that is 0, and so is what it divides."""
    count = lax.stop_gradient(count)
    return count + (count == 0).astype(count.dtype)


def gather(value: jax.Array, axis_name: AxisName) -> jax.Array:
    """`[members, ...]`, known to be the same on every member of the mapped axis.

    A sum of one-hot rows, since every mapped axis has sums, and derivatives of them.
    """
    everyone = jnp.zeros((_checks.axis_size(axis_name), *value.shape), value.dtype)
    return lax.psum(everyone.at[lax.axis_index(axis_name)].set(value), axis_name)


def about_mean(count: jax.Array, mean: jax.Array, m2: jax.Array) -> Pivoted:
    """Moments whose mean is one number: it is the pivot."""
    return Pivoted(mean, count, jnp.zeros_like(mean), m2)


def _same_group(groups: Sequence[Sequence[int]], size: int) -> jax.Array:
    """`[size, size]`: whether two members of the axis share a group."""
    group = np.zeros(size, int)
    for number, members in enumerate(_checks.groups_cover(groups, size)):
        group[members] = number
    return jnp.asarray(group[:, None] == group)


_statistics = by_devices("statistics", _whole, _of_parts)
