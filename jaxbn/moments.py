"""Moments as a value: the one monoid behind batches, masks, devices and passes over data.

`(count, mean, m2)` of two disjoint sets of numbers determine those of their union, and an empty set is neutral.
Everything in this library that combines statistics does it through this one merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxbn import _checks, _pivoted
from jaxbn._layout import as_given, shared_alike
from jaxbn._numbers import statistics_dtype
from jaxbn._pivoted import AxisName, Pivoted, about_mean
from jaxbn._residuals import counted


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of a set of values, per feature.

    Attributes:
        count: `[features]`, at least float32: how many values (with weights: their sum).
        mean: `[features]`, at least float32, complex for complex data.
        m2: `[features]`, at least float32, real: `sum(|x - mean|**2)`, so that the variance is `m2 / count`.

    Example:
        >>> m = Moments(count=jnp.array([3.0]), mean=jnp.array([3.0]), m2=jnp.array([14.0]))
        >>> print(m.m2 / m.count)
        [4.6666665]
    """

    count: jax.Array  # type: ignore[assignment]  # the field's name hides tuple.count
    mean: jax.Array
    m2: jax.Array


def batch_moments(x: ArrayLike, *, axis: int | Sequence[int] = -1, mask: ArrayLike | None = None) -> Moments:
    """Moments of a batch over all axes but the feature axes.

    `count = sum(w)`,  `mean = sum(w * x) / count`,  `m2 = sum(w * |x - mean|**2)`, with `w = 1` without a mask.

    Args:
        x: `[..., features, ...]`, floating or complex, of any rank from 1 up.
        axis: the feature axis, or several; the results have their shape, in the order given.
        mask: `None`, or booleans or non-negative weights with as many dimensions as `x`, broadcastable to it.
            What `x` holds where the weight is 0 is never used. No gradient flows to weights.

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
    weights = _checks.mask(mask, x)
    wide = counted(x, weights).astype(statistics_dtype(x.dtype))
    batch = _pivoted.of_batch(tuple(sorted(axes)), x, wide, weights)
    return jax.tree.map(lambda part: as_given(part, axes), rounded(batch))


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
    _checks.moments("a", a)
    _checks.moments("b", b)
    _checks.same_shapes(a=a, b=b)
    with jax.numpy_dtype_promotion("standard"):
        parts = jax.tree.map(lambda *leaves: jnp.stack(shared_alike(*leaves)), a, b)
        return rounded(_pivoted.merge(about_mean(*parts)))


def sync_moments(m: Moments, axis_name: AxisName) -> Moments:
    """Moments of the union over a mapped axis of `vmap`, `pmap` or `shard_map`.

    `count = sum(count_i)`,  `mean = sum(count_i * mean_i) / count`,
    `m2 = sum(m2_i + count_i * |mean_i - mean|**2)`, over all members `i` of the axis: exact for unequal counts, and for
    empty members.

    Args:
        m: `Moments` of `[features]` arrays, this member's part of the data.
        axis_name: the name of the mapped axis, or a tuple of names.

    Returns:
        `Moments` of `[features]` arrays, the same on every member, by one message.

    Raises:
        TypeError: `m` is not made of floating arrays.
        ValueError: no axis of that name is mapped here.

    Example:
        >>> x = jnp.array([[1.0], [2.0], [6.0]])
        >>> sync = lambda shard: sync_moments(batch_moments(shard[None]), "devices")
        >>> whole = jax.vmap(sync, axis_name="devices")(x)
        >>> print(whole.mean[0], whole.m2[0])
        [3.] [14.]

    Reference:
        Chan, Golub and LeVeque 1979, equation (2.1), as in `merge_moments`.
    """
    _checks.moments("m", m)
    _checks.same_shapes(m=m)
    with jax.numpy_dtype_promotion("standard"):
        return rounded(_pivoted.sync(about_mean(*m), axis_name))


def rounded(statistics: Pivoted) -> Moments:
    """The public form, in which pivot and offset are added to one mean, rounded to its dtype."""
    return Moments(statistics.count, statistics.mean, statistics.m2)
