"""Arrays and what belongs to them: the data, their feature axes, their mask."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbn._checks.words import shown
from jaxbn._numbers import statistics_dtype


def array(value: ArrayLike, name: str) -> jax.Array:
    no_reference(name, value)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        # Of a NumPy array `asarray` makes two copies.
        return jnp.asarray(jax.device_put(value) if isinstance(value, np.ndarray) else value)
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` must have a dtype that JAX has, got {value.dtype}; convert it, e.g. with "
            f"{name}.astype('float32')."
        )
    raise TypeError(f"`{name}` must be an array, got {type(value).__name__}; convert it with jnp.asarray.")


def is_array(value: Any, *kinds: Any) -> bool:
    """Whether it is one, of JAX or NumPy or like theirs, with numbers of one of these kinds that JAX has too."""
    return _is_like_array(value) and _is_of(value.dtype, kinds)


def kind_of(value: Any) -> Any:
    """Its dtype, if it is an array, or its type."""
    return value.dtype if _is_like_array(value) else type(value).__name__


def _is_like_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "astype") and not isinstance(value, np.ma.MaskedArray)


@functools.cache
def _is_of(dtype: Any, kinds: tuple[Any, ...]) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in kinds) and dtype.char not in "gGm" and dtype.isnative


def is_reference(value: Any) -> bool:
    """A reference of JAX, or a list with one: inside of `jit` it would be read for ever, as a list without an end."""
    return isinstance(value, jax.Ref) or (isinstance(value, list | tuple) and any(map(is_reference, value)))


def no_reference(name: str, value: Any) -> None:
    if is_reference(value):
        raise TypeError(f"`{name}` must be an array, got a Ref; read it with ref[...].")


def data(x: ArrayLike, name: str = "x") -> jax.Array:
    x = array(x, name)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            f"`{name}` must be floating or complex, got {x.dtype}; convert it, e.g. with {name}.astype('float32')."
        )
    if x.dtype.itemsize < 2:
        # Neither have all of them a 0, nor is there a wider dtype that they go into by themselves.
        raise TypeError(f"`{name}` must have at least 16 bits, got {x.dtype}; convert it, e.g. to bfloat16.")
    if x.ndim == 0:
        raise ValueError(f"`{name}` must have a feature axis, got a scalar; give it the shape [..., features].")
    return x


def axes(axis: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The feature axes counted from 0, in the order given."""
    given: Any = axis if isinstance(axis, Sequence) and not isinstance(axis, bytes) else (axis,)
    try:
        given = tuple(operator.index(a) for a in given)
    except TypeError:
        raise TypeError(f"`axis` must be an int or a tuple of ints, got {shown(axis)}.") from None
    if not given:
        raise ValueError("`axis` must name at least one feature axis, got an empty tuple.")
    for a in given:
        if not -ndim <= a < ndim:
            raise ValueError(f"`axis` must lie in [{-ndim}, {ndim}) for `x` with {ndim} dimensions, got {shown(axis)}.")
    counted = tuple(a % ndim for a in given)
    if len(set(counted)) < len(counted):
        raise ValueError(f"`axis` must not name an axis twice, got {shown(axis)} for `x` with {ndim} dimensions.")
    return counted


def weights(mask: ArrayLike) -> jax.Array:
    made: Any = None
    no_reference("mask", mask)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        made = jnp.asarray(mask)
    if not is_array(made, jnp.bool_, jnp.integer, jnp.floating):
        got = getattr(mask, "dtype", type(mask).__name__) if made is None else made.dtype
        raise TypeError(f"`mask` must be bool or real weights, got {got}.")
    return made


def mask(mask: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    if mask is None:
        return None
    mask = weights(mask)
    if mask.ndim != x.ndim:
        raise ValueError(
            f"`mask` must have as many dimensions as `x` {x.shape}, got the shape {mask.shape}; give it size 1 along "
            f"the axes where it does not vary, for one weight per example {(*x.shape[:1], *[1] * (x.ndim - 1))}."
        )
    if any(m not in (1, n) for m, n in zip(mask.shape, x.shape, strict=True)):
        raise ValueError(f"`mask` must broadcast to `x` {x.shape}, got the shape {mask.shape}.")
    # Once and for all in the precision of the sums: a weight must not be 0 in one place and not in another.
    if mask.dtype == jnp.bool_:
        return mask
    return jax.lax.stop_gradient(mask.astype(jnp.finfo(statistics_dtype(x.dtype)).dtype))
