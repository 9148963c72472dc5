"""Moments as a value: the one monoid behind batches, masks, devices and passes over data.

`(count, mean, m2)` of two disjoint sets of numbers determine those of their union, and an empty set is neutral.
Everything in this library that combines statistics does it through this one merge.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from jaxbn import _checks
from jaxbn._layout import from_data_layout, statistics_dtype
from jaxbn._pivot import abs_square, choose_pivot, means_about, real_parts

AxisName = Hashable

_KEPT = "jaxbn_statistics"
# For the backward pass `x` and the statistics are kept; the rest is cheaper to compute again than to store.
keep_statistics = jax.checkpoint_policies.save_only_these_names(_KEPT)


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of a set of values, per feature.

    Attributes:
        count: `[features]`, how many values (with weights: their sum).
        mean: `[features]`, complex for complex data.
        m2: `[features]`, real: `sum(|x - mean|**2)`, so that the variance is `m2 / count`.
    """

    count: jax.Array  # type: ignore[assignment]  # the field's name hides tuple.count
    mean: jax.Array
    m2: jax.Array


class Pivoted(NamedTuple):
    """A pivot near the mean, and the moments of `x - pivot`: as exact as the data, however far from 0 they lie."""

    pivot: jax.Array
    rest: Moments


def batch_moments(x: ArrayLike, *, axis: int | Sequence[int] = -1, mask: ArrayLike | None = None) -> Moments:
    """Moments of a batch over all axes but the feature axes.

    `count = sum(w)`,  `mean = sum(w * x) / count`,  `m2 = sum(w * |x - mean|**2)`, with `w = 1` without a mask.

    Args:
        x: `[..., features, ...]`, floating or complex, of any rank from 1 up.
        axis: the feature axis, or several; the results have their shape, in the order given.
        mask: `None`, or booleans or non-negative weights with as many dimensions as `x`, broadcastable to it.
            What `x` holds where the weight is 0 is never used.

    Returns:
        `Moments` of `[features]` arrays in at least float32. A feature without data has count, mean and m2 0.

    Raises:
        TypeError: `x` is not floating or complex, or `mask` is complex.
        ValueError: `axis` is out of range or has duplicates, or `mask` does not fit `x`.

    Example:
        >>> m = batch_moments(jnp.array([[1.0], [2.0], [6.0]]))
        >>> print(m.count, m.mean, m.m2)
        [3.] [3.] [14.]

    Reference:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3),
        1983, equation (1.7): the corrected two-pass algorithm.
    """
    x = _checks.data(x)
    axes = _checks.axes(axis, x.ndim)
    pivot, (count, mean, m2) = pivoted_moments(x, axes, _checks.mask(mask, x))
    return Moments(*(from_data_layout(part, axes) for part in (count, pivot + mean, m2)))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two disjoint sets of values.

    `count = a.count + b.count`,  `mean = (a.count * a.mean + b.count * b.mean) / count`,
    `m2 = a.m2 + b.m2 + |b.mean - a.mean|**2 * a.count * b.count / count`.

    Args:
        a: `Moments` with arrays of one shape, for example `[features]`.
        b: `Moments` of the same shape.

    Returns:
        `Moments` of that shape. A count of 0 is neutral, whatever its mean; two of them give 0, 0, 0.

    Raises:
        ValueError: `a` and `b` have different shapes.

    Example:
        >>> x = jnp.array([[1.0], [2.0], [6.0]])
        >>> whole = merge_moments(batch_moments(x[:2]), batch_moments(x[2:]))
        >>> print(whole.count, whole.mean, whole.m2)
        [3.] [3.] [14.]

    Reference:
        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
        Stanford CS-79-773, 1979, equation (2.1).
    """
    _checks.same_shapes("a", a, "b", b)
    parts = jax.tree.map(lambda *leaves: jnp.stack(leaves), a, b)
    pivot, (count, mean, m2) = merge_pivoted(_about_mean(parts))
    return Moments(count, pivot + mean, m2)


def pivoted_moments(x: jax.Array, axes: Sequence[int], weights: jax.Array | None) -> Pivoted:
    """Moments of `x` over all axes but `axes`, about a pivot; every array broadcasts against `x`."""
    x = x.astype(statistics_dtype(x.dtype))
    reduced = tuple(d for d in range(x.ndim) if d not in axes)
    pivot = kept(lax.stop_gradient(choose_pivot(x, reduced, weights)))
    count, mean, square = map(kept, means_about(x, pivot, reduced, weights))
    # Squares that overflow make an infinite variance, which is what it is in this precision, not inf - inf.
    return Pivoted(pivot, Moments(count, mean, count * jnp.where(jnp.isinf(square), square, square - abs_square(mean))))


def sync_pivoted(local: Pivoted, axis_name: AxisName, groups: Sequence[Sequence[int]] | None = None) -> Pivoted:
    """Merge over a mapped axis, with one collective, whose result is known to be the same on every device."""
    pivot, (count, mean, m2) = local
    # What arrived is kept too, or the derivative of the merge would have it sent a second time.
    everyone = kept(gather(jnp.stack([count, m2, *real_parts(pivot), *real_parts(mean)]), axis_name))
    count, m2, *parts = jnp.moveaxis(everyone, 1, 0)
    if groups is not None:
        same = _same_group(groups, len(count))[lax.axis_index(axis_name)]
        count = jnp.where(same.reshape(-1, *[1] * (count.ndim - 1)), count, 0)
    pivot, mean = parts if len(parts) == 2 else (lax.complex(*parts[:2]), lax.complex(*parts[2:]))
    return merge_pivoted(Pivoted(pivot, Moments(count, mean, m2)))


def gather(value: jax.Array, axis_name: AxisName) -> jax.Array:
    """`[members, ...]`, known to be the same on every member of the mapped axis.

    A sum of one-hot rows, since every mapped axis has sums, and derivatives of them.
    """
    everyone = jnp.zeros((lax.axis_size(axis_name), *value.shape), value.dtype)
    return lax.psum(everyone.at[lax.axis_index(axis_name)].set(value), axis_name)


def sync_moments(m: Moments, axis_name: AxisName) -> Moments:
    """Moments of the union over a mapped axis of `vmap`, `pmap` or `shard_map`.

    The merge of `merge_moments` over all members of the axis: exact for unequal counts, and for empty members.

    Args:
        m: `Moments` of `[features]` arrays, this member's part of the data.
        axis_name: the name of the mapped axis, or a tuple of names.

    Returns:
        `Moments` of `[features]` arrays, the same on every member, by one collective.

    Raises:
        NameError: no axis of that name is mapped here (raised by JAX).

    Example:
        >>> x = jnp.array([[1.0], [2.0], [6.0]])
        >>> sync = lambda shard: sync_moments(batch_moments(shard[None]), "devices")
        >>> whole = jax.vmap(sync, axis_name="devices")(x)
        >>> print(whole.mean[0], whole.m2[0])
        [3.] [14.]

    Reference:
        Chan, Golub and LeVeque 1979, equation (2.1), as in `merge_moments`.
    """
    pivot, (count, mean, m2) = sync_pivoted(_about_mean(m), axis_name)
    return Moments(count, pivot + mean, m2)


def merge_pivoted(parts: Pivoted) -> Pivoted:
    """Merge along the leading axis, about the pivot of the first part that holds data."""
    (count, mean, m2), filled = parts.rest, parts.rest.count > 0
    first = jnp.argmax(filled, axis=0, keepdims=True)
    origin = jnp.take_along_axis(jnp.where(filled, parts.pivot, 0), first, axis=0)
    shift = jnp.where(filled, (parts.pivot - origin) + mean, 0)
    total = count.sum(0, keepdims=True)
    divisor = jnp.where(total > 0, total, 1).astype(shift.dtype)
    mean = (count.astype(shift.dtype) * shift).sum(0, keepdims=True) / divisor
    m2 = jnp.where(filled, m2 + count * abs_square(shift - mean), 0).sum(0)
    return Pivoted(origin[0], Moments(total[0], mean[0], m2))


def _about_mean(m: Moments) -> Pivoted:
    return Pivoted(m.mean, m._replace(mean=jnp.zeros_like(m.mean)))


def _same_group(groups: Sequence[Sequence[int]], size: int) -> jax.Array:
    """`[size, size]`: whether two members of the axis share a group."""
    group = np.zeros(size, int)
    for number, members in enumerate(_checks.groups_cover(groups, size)):
        group[members] = number
    return jnp.asarray(group[:, None] == group)


def kept(value: jax.Array) -> jax.Array:
    """Mark an array for `keep_statistics`; `jax.checkpoint` cannot keep a complex one, so its parts are."""
    if jnp.iscomplexobj(value):
        return lax.complex(kept(value.real), kept(value.imag))
    return checkpoint_name(value, _KEPT)
