"""The checks and errors of this package alone; the others it shares with the core."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import _checks


def real(name: str, x: jax.Array) -> None:
    if jnp.iscomplexobj(x):
        raise TypeError(f"`{name}` must be real here, got {x.dtype}; take its real and imaginary parts as features.")


def as_complex_as(name: str, x: jax.Array, fitted: jax.Array) -> None:
    if jnp.iscomplexobj(fitted) and not jnp.iscomplexobj(x):
        raise TypeError(
            f"`{name}` must be complex for a transform that was fitted to complex data, got {x.dtype}; convert it, "
            f"e.g. with {name}.astype('{fitted.dtype}')."
        )


def is_transform(t: Any, kind: type) -> None:
    if not isinstance(t, kind):
        raise TypeError(f"`t` must be a fitted transform, got {type(t).__name__}; see jaxbn.preprocess.")


def fitted_features(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise ValueError(
            f"`{name}` must have the features {expected} that the transform was fitted to, got {got}; check its shape."
        )


def same_features(got: tuple[int, ...], earlier: tuple[int, ...] | None) -> tuple[int, ...]:
    if earlier not in (None, got):
        raise ValueError(f"`x` must yield batches with the same features, got {got} after {earlier}; check `axis`.")
    return got


def any_batch(total: Any) -> Any:
    if total is None:
        raise ValueError("`x` must yield at least one batch, got none; an iterator can be read only once.")
    return total


def pairs(x: Any, mask: Any) -> Iterator[tuple[Any, Any]]:
    """Every batch with its mask."""
    if hasattr(mask, "__array__") or not isinstance(mask, Iterable):
        raise TypeError(f"`mask` must be an iterable like `x`, got {type(mask).__name__}; give one mask per batch.")
    nothing = object()
    for batch, own in itertools.zip_longest(x, mask, fillvalue=nothing):
        if batch is nothing or own is nothing:
            what = "batches" if own is nothing else "masks"
            raise ValueError(f"`mask` must yield one mask per batch of `x`, got more {what}; make them equally many.")
        yield batch, own


def mask_of_examples(mask: jax.Array, feature_axes: Sequence[int]) -> None:
    if any(mask.shape[a] != 1 for a in feature_axes):
        raise ValueError(
            f"`mask` must hold one weight per example here, got the shape {mask.shape}; give it size 1 along the "
            f"feature axes {tuple(feature_axes)}."
        )


def some_feature(features: tuple[int, ...]) -> None:
    if 0 in features:
        raise ValueError(f"`x` must have at least one feature to have components, got the features {features}.")


def components(value: int | None, features: int) -> int:
    if value is None:
        return features
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`components` must be an int or None, got {_checks.shown(value)}.") from None
    if not 1 <= number <= features:
        raise ValueError(f"`components` must lie between 1 and the {features} features of `x`, got {value}.")
    return number


def in_order(low: float, high: float) -> tuple[float, float]:
    """Both as floating numbers."""
    _checks.scalar("low", low)
    _checks.scalar("high", high)
    if _checks.is_known(low) and _checks.is_known(high) and not -float("inf") < low < high < float("inf"):
        raise ValueError(f"`low` must be less than `high` and both finite, got {low} and {high}.")
    return _floating(low), _floating(high)


def _floating(number: Any) -> Any:
    return float(number) if isinstance(number, int | float) else jnp.asarray(number, float)


def finite_fit(location: jax.Array, spread: jax.Array, nan_policy: str) -> None:
    """What was fitted is finite; inside a compiled function, where values are not known, nothing is checked."""
    if isinstance(location, jax.core.Tracer) or isinstance(spread, jax.core.Tracer):
        return
    wrong = ~(np.isfinite(location) & np.isfinite(spread))
    if np.any(wrong):
        feature = tuple(int(i) for i in np.argwhere(wrong)[0])
        remedy = "a mask leaves values out" + (", nan_policy='omit' leaves out NaN" if nan_policy == "raise" else "")
        raise ValueError(
            f"`x` must be finite, and small enough to be squared, got NaN, inf or more for feature {feature}, one of "
            f"{np.sum(wrong)} such; {remedy}."
        )
