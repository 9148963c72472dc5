"""Centring, standardising, scaling to a range: every feature for itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxbn import _checks
from jaxbn._layout import as_given, from_data_layout, to_data_layout
from jaxbn._numbers import is_valid
from jaxbn._pivoted import AxisName, Pivoted, gather, merge, of_batch, sync
from jaxbn.preprocess import _checks as _own
from jaxbn.preprocess._batches import Data, Masks, NanPolicy, fold
from jaxbn.preprocess.transform import Transform


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("center", "rest", "spread", "offset"), meta_fields=("axis",)
)
@dataclasses.dataclass(frozen=True)
class Scaling(Transform):
    """A transform of every feature by itself, for `transform` and `inverse_transform`.

    `y = (x - center - rest) / spread + offset`. The mean is `center + rest`: two numbers hold it to more digits than
    one.

    Attributes:
        center: `[features]`, at least float32, in the unit of the data; complex for complex data.
        rest: `[features]`, as `center`.
        spread: `[features]`, as `center`, real; 1 where the data is constant.
        offset: `[features]`, what is added at the end; 0 but for `fit_min_max`.
        axis: the feature axes.

    Example:
        >>> t = fit_standardize(jnp.array([[1.0], [3.0]]))
        >>> print(t.center + t.rest, t.spread, t.offset, t.axis)
        [2.] [1.] [0.] (-1,)
    """

    center: jax.Array
    rest: jax.Array
    spread: jax.Array
    offset: jax.Array
    axis: tuple[int, ...]

    @jax.jit
    def _forward(self, x: jax.Array) -> jax.Array:
        center, rest, spread, offset = self._parts(x, "x")
        return (x - center - rest) / spread + offset

    @jax.jit
    def _inverse(self, y: jax.Array) -> jax.Array:
        center, rest, spread, offset = self._parts(y, "y")
        return (y - offset) * spread + rest + center

    def _parts(self, x: jax.Array, name: str) -> list[jax.Array]:
        axes = _checks.axes(self.axis, x.ndim)
        _own.fitted_features(name, tuple(x.shape[a] for a in axes), self.center.shape)
        parts = (self.center, self.rest, self.spread, self.offset)
        return [to_data_layout(part.astype(x.dtype), axes, x.ndim) for part in parts]


def fit_center(
    x: Data,
    *,
    axis: int | Sequence[int] = -1,
    mask: Masks = None,
    axis_name: AxisName | None = None,
    nan_policy: NanPolicy = "raise",
) -> Scaling:
    """Fit the transform to mean 0.

    `y = x - mean`.

    Args:
        x: `[..., features, ...]`, floating or complex, or an iterable of such batches, of which one at a time is in
            memory. A list is an iterable of batches. Without `jax_enable_x64`, JAX rounds float64 to float32 first.
        axis: the feature axis, or several: `-1` for every column of a table or every channel of images,
            `(1, 2, 3)` for every pixel of images `[n, height, width, channels]`.
        mask: `None`, or booleans or weights that broadcast to `x`, as in `batch_norm`; for batches an iterable.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the data is spread.
        nan_policy: `"raise"` refuses NaN and inf (a compiled function can't: there they go through), `"omit"` leaves
            NaN out, value by value.

    Returns:
        `Scaling`. A feature without data is left as it is.

    Raises:
        TypeError: `x` is not floating or complex.
        ValueError: a wrong `axis` or `mask`, no batch, batches with different features, NaN or inf.

    Example:
        >>> t = fit_center(jnp.array([[1.0], [2.0], [6.0]]))
        >>> print(t.center + t.rest)
        [3.]

    Reference:
        LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, section 4.3.
    """
    pivot, _, offset, _ = _fit_moments(x, axis, mask, axis_name, nan_policy)
    _own.finite_fit(offset, pivot, nan_policy)
    return _scaling(pivot, offset, jnp.ones_like(offset), jnp.zeros_like(offset), axis)


def fit_standardize(
    x: Data,
    *,
    axis: int | Sequence[int] = -1,
    mask: Masks = None,
    axis_name: AxisName | None = None,
    ddof: Literal[0, 1] = 0,
    nan_policy: NanPolicy = "raise",
) -> Scaling:
    """Fit the transform to mean 0 and variance 1.

    `y = (x - mean) / sqrt(var)`.

    Args:
        x: `[..., features, ...]`, floating or complex, or an iterable of such batches, as in `fit_center`.
        axis: the feature axis, or several, in the order given.
        mask: `None`, or booleans or weights that broadcast to `x`; for batches an iterable.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the data is spread.
        ddof: 1 divides by the square root of the unbiased variance, in which weights count as repetitions.
        nan_policy: `"raise"` refuses NaN and inf, `"omit"` leaves NaN out, value by value.

    Returns:
        `Scaling`. A constant feature becomes 0, and a feature without data is left as it is. The squares of deviations
        must neither underflow nor overflow: in float32, a spread below 1e-19 counts as constant, and one above 1e19
        raises `ValueError`.

    Raises:
        TypeError: `x` is not floating or complex.
        ValueError: a wrong `axis`, `mask` or `ddof`, no batch, batches with different features, NaN or inf.

    Example:
        >>> x = jnp.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
        >>> t = fit_standardize(x)
        >>> print(t.center + t.rest, t.spread)
        [3. 5.] [2.1602468 1.       ]

    Reference:
        LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, section 4.3.
    """
    _checks.choice("ddof", ddof, (0, 1))
    pivot, count, offset, m2 = _fit_moments(x, axis, mask, axis_name, nan_policy)
    _own.finite_fit(pivot + offset, m2, nan_policy)
    varies = (m2 > 0) & (count > ddof)
    var = jnp.where(varies, m2, 1) / jnp.where(varies, count - ddof, 1)
    return _scaling(pivot, offset, jnp.sqrt(var).astype(offset.dtype), jnp.zeros_like(offset), axis)


def fit_min_max(
    x: Data,
    *,
    low: float = -1.0,
    high: float = 1.0,
    axis: int | Sequence[int] = -1,
    mask: Masks = None,
    axis_name: AxisName | None = None,
    nan_policy: NanPolicy = "raise",
) -> Scaling:
    """Fit the transform to the range from `low` to `high`.

    `y = (x - min) / (max - min) * (high - low) + low`.

    Args:
        x: `[..., features, ...]`, floating, or an iterable of such batches, as in `fit_center`.
        low: what the least value becomes.
        high: what the greatest value becomes.
        axis: the feature axis, or several, in the order given.
        mask: `None`, or booleans or weights that broadcast to `x`, which count as 0 or not; for batches an iterable.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the data is spread.
        nan_policy: `"raise"` refuses NaN and inf, `"omit"` leaves NaN out, value by value.

    Returns:
        `Scaling`. A constant feature becomes `low`, and a feature without data is left as it is. Fitted to `[x, -x]`
        with the range from -1 to 1, it divides by the largest absolute value.

    Raises:
        TypeError: `x` is not floating.
        ValueError: `low` is not less than `high`, and as in `fit_center`.

    Example:
        >>> from jaxbn.preprocess import fit_min_max, transform
        >>> x = jnp.array([[1.0], [2.0], [5.0]])
        >>> print(transform(fit_min_max(x), x)[:, 0])
        [-1.  -0.5  1. ]

    Reference:
        Han, Kamber and Pei, "Data mining", 3rd edition, 2012, equation (3.8).
    """
    low, high = _own.in_order(low, high)
    ends = fold(x, mask, axis, nan_policy, _ends, _merge_ends)
    if axis_name is not None:
        everyone = [gather(end, axis_name) for end in ends]
        ends = _Ends(everyone[0].min(0), everyone[1].max(0))
    known = ends.least <= ends.most
    least = jnp.where(known, ends.least, 0)
    width = jnp.where(ends.most > ends.least, ends.most - ends.least, high - low)
    # NaN is neither less nor greater; it has to show.
    least, width = (jnp.where(jnp.isnan(ends.least), jnp.nan, v) for v in (least, width))
    # The width of tiny values may be no number after the division.
    spread = jnp.where(width / (high - low) == 0, 1, width / (high - low))
    t = _scaling(least, jnp.zeros_like(least), spread, jnp.where(known, low, 0).astype(least.dtype), axis)
    _own.finite_fit(t.center, t.spread, nan_policy)
    return t


class _Ends(NamedTuple):
    least: jax.Array
    most: jax.Array


def _ends(x: jax.Array, weights: jax.Array | None, axes: Sequence[int]) -> _Ends:
    _own.real("x", x)
    reduced = tuple(d for d in range(x.ndim) if d not in axes)
    valid = None if weights is None else jnp.broadcast_to(is_valid(weights), x.shape)
    least = jnp.min(x, reduced, keepdims=True, initial=jnp.inf, where=valid)
    most = jnp.max(x, reduced, keepdims=True, initial=-jnp.inf, where=valid)
    return _Ends(from_data_layout(least, axes), from_data_layout(most, axes))


def _merge_ends(a: _Ends, b: _Ends) -> _Ends:
    return _Ends(jnp.minimum(a.least, b.least), jnp.maximum(a.most, b.most))


def _fit_moments(
    x: Data, axis: int | Sequence[int], mask: Masks, axis_name: AxisName | None, nan_policy: NanPolicy
) -> Pivoted:
    total = fold(x, mask, axis, nan_policy, _moments, merge_two)
    if axis_name is not None:
        total = sync(total, axis_name)
    return total


def _moments(x: jax.Array, weights: jax.Array | None, axes: Sequence[int]) -> Pivoted:
    return jax.tree.map(lambda part: as_given(part, axes), of_batch(tuple(sorted(axes)), x, x, weights))


def merge_two(a: Pivoted, b: Pivoted) -> Pivoted:
    """Merge the moments of two sets of data."""
    with jax.numpy_dtype_promotion("standard"):
        return merge(jax.tree.map(lambda *parts: jnp.stack(parts), a, b))


def _scaling(
    center: jax.Array, rest: jax.Array, spread: jax.Array, offset: jax.Array, axis: int | Sequence[int]
) -> Scaling:
    return Scaling(center, rest, spread, offset, tuple(axis) if isinstance(axis, Sequence) else (axis,))
