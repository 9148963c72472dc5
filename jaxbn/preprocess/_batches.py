"""Data as one array or as an iterator of batches, and the one loop that fits something to it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxbn import _checks
from jaxbn._numbers import real_parts, statistics_dtype
from jaxbn._residuals import counted
from jaxbn.preprocess import _checks as _own

Data = ArrayLike | Iterable[ArrayLike]
Masks = ArrayLike | Iterable[ArrayLike] | None
NanPolicy = Literal["raise", "omit"]
T = TypeVar("T")


def fold(
    data: Data,
    masks: Masks,
    axis: Any,
    nan_policy: NanPolicy,
    statistics: Callable[..., T],
    merge: Callable[[T, T], T],
    *,
    whole_examples: bool = False,
) -> T:
    """Merge the statistics of all batches.

    Args:
        data: an array, or an iterable of arrays with the same features.
        masks: an array, or an iterable of arrays, or `None`.
        axis: the feature axis, or several.
        nan_policy: `"omit"` gives NaN the weight 0.
        statistics: `(x, weights, axes) -> T`, with weights that broadcast against `x`, or `None`.
        merge: of two disjoint sets of data.
        whole_examples: leave out all features where one is NaN.

    Returns:
        What was merged; arrays of the size of the statistics are all that is ever held of earlier batches.
    """
    _checks.choice("nan_policy", nan_policy, ("raise", "omit"))
    total, features = None, None
    for x, mask in _batches(data, masks):
        x = _checks.data(x)
        axes = _checks.axes(axis, x.ndim)
        weights = _checks.mask(mask, x)
        features = _own.same_features(tuple(x.shape[a] for a in axes), features)
        left_out = None if nan_policy == "raise" else tuple(axes) if whole_examples else ()
        part = _statistics(statistics, axes, left_out, x, weights)
        total = part if total is None else _merge(merge, total, part)
        # Otherwise the host runs ahead, and all batches wait in memory for their turn.
        jax.block_until_ready(total)
    return _own.any_batch(total)


def _batches(data: Data, masks: Masks) -> Iterator[tuple[Any, Any]]:
    if hasattr(data, "__array__") or not isinstance(data, Iterable):
        yield data, masks
    elif masks is None:
        yield from zip(data, itertools.repeat(None))
    else:
        yield from _own.pairs(data, masks)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _statistics(
    statistics: Callable[..., T],
    axes: tuple[int, ...],
    left_out: tuple[int, ...] | None,
    x: jax.Array,
    weights: jax.Array | None,
) -> T:
    """Statistics of one batch; where there is NaN, all values along the axes `left_out` have the weight 0."""
    x = x.astype(statistics_dtype(x.dtype))
    if left_out is not None:
        known = ~functools.reduce(jnp.logical_or, map(jnp.isnan, real_parts(x))).any(left_out, keepdims=True)
        weights = known if weights is None else jnp.where(known, weights, jnp.zeros((), weights.dtype))
    return statistics(counted(x, weights), weights, axes)


@functools.partial(jax.jit, static_argnums=0)
def _merge(merge: Callable[[T, T], T], a: T, b: T) -> T:
    return merge(a, b)
