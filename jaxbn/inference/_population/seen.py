"""What a batch norm sees: statistics of its input, and how well a sample of them is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn import _pivoted
from jaxbn._layout import as_given
from jaxbn._numbers import abs_square, statistics_dtype
from jaxbn._pivoted import AxisName, Pivoted
from jaxbn._reduce.plain import beside, others
from jaxbn._residuals import counted, weighted


class Seen(NamedTuple):
    """Of disjoint sets of values it merges into that of their union; the arrays are `[features]`.

    Attributes:
        values: count, mean and squared deviations.
        m3: `sum(|x - mean|**2 * (x - mean))`.
        m4: `sum(|x - mean|**4)`, which says how well the variance is known.
        samples: how many entries along the batch axis.
    """

    values: Pivoted
    m3: jax.Array
    m4: jax.Array
    samples: jax.Array


def look(x: jax.Array, weights: jax.Array | None, axes: Sequence[int], axis_name: AxisName | None) -> Seen:
    """The statistics of one input over all axes but the feature axes, and over a mapped axis.

    Args:
        x: the input.
        weights: `None`, or booleans or weights that broadcast against it.
        axes: the feature axes, in the order of the features.
        axis_name: the mapped axes over which the batch is spread, or `None`.
    """
    ordered, wide = tuple(sorted(axes)), counted(x, weights).astype(statistics_dtype(x.dtype))
    reduced = others(x, ordered)
    values = _pivoted.of_batch(ordered, x, wide, weights)
    deviation = wide - beside(values.pivot, x, ordered) - beside(values.offset, x, ordered)
    square = weighted(abs_square(deviation), weights)
    m3 = jnp.sum(square.astype(wide.dtype) * deviation, reduced)
    m4 = jnp.sum(square * abs_square(deviation), reduced)
    if axis_name is not None:
        whole = _pivoted.sync(values, axis_name)
        m3, m4 = lax.psum(shifted(_shift(values, whole), values.count, values.m2, m3, m4), axis_name)
        values = whole
    values, m3, m4 = jax.tree.map(lambda part: as_given(part, axes), (values, m3, m4))
    # The first axis that is no feature axis is that of the samples.
    each = math.prod([x.shape[a] for a in reduced][1:])
    return Seen(values, m3, m4, values.count / max(each, 1))


def merge_parts(parts: Seen) -> Seen:
    """Merge along the leading axis."""
    whole = _pivoted.merge(parts.values)
    beside_parts = jax.tree.map(lambda part: part[None], whole)
    count, m2 = parts.values.count, parts.values.m2
    m3, m4 = shifted(_shift(parts.values, beside_parts), count, m2, parts.m3, parts.m4)
    return Seen(whole, m3.sum(0), m4.sum(0), parts.samples.sum(0))


def merge_two(a: Seen, b: Seen) -> Seen:
    return merge_parts(jax.tree.map(lambda *leaves: jnp.stack(leaves), a, b))


def shifted(shift: Any, count: Any, m2: Any, m3: Any, m4: Any) -> tuple[Any, Any]:
    """Third and fourth moments about a point that lies by `shift` below the mean.

    Of `x - mean + shift` the powers, summed. Of complex values it is taken that no direction is preferred.
    """
    square = shift.real**2 + shift.imag**2
    linear, quadratic = (2, 4) if jnp.iscomplexobj(shift) else (3, 6)
    third = m3 + (linear * m2 + count * square) * shift
    return third, m4 + 4 * (shift.conj() * m3).real + square * (quadratic * m2 + count * square)


def _shift(parts: Pivoted, whole: Pivoted) -> jax.Array:
    """From the mean of the whole to that of each part; 0 for an empty one."""
    return jnp.where(parts.count > 0, (parts.pivot - whole.pivot) + (parts.offset - whole.offset), 0)
