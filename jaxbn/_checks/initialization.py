"""What parameters and statistics are made of at first: features, a dtype, a key, initial values."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxbn._checks.arrays import is_array, is_reference, kind_of
from jaxbn._checks.words import shown


def features(value: int | Sequence[int], name: str = "features") -> tuple[int, ...]:
    try:
        given: Any = value if isinstance(value, Sequence) and not isinstance(value, bytes) else (value,)
        shape = tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(f"`{name}` must be an int or a tuple of ints, got {shown(value)}.") from None
    if not shape or not all(0 <= number < 2**31 for number in shape):
        raise ValueError(f"`{name}` must be at least 0, less than 2**31 and not empty, got {shown(value)}.")
    return shape


def num_features(value: int | Sequence[int], x: jax.Array, feature_axes: Sequence[int]) -> None:
    expected = tuple(x.shape[a] for a in feature_axes)
    if features(value, "num_features") != expected:
        raise ValueError(
            f"`x` must have num_features={value} along the feature axes {tuple(feature_axes)}, got {expected} in the "
            f"shape {x.shape}; check `num_features` and `axis`."
        )


def float_dtype(name: str, value: DTypeLike) -> Any:
    try:
        # Of more, as of an array, NumPy would take the dtype.
        dtype = jnp.dtype(value) if value is None or isinstance(value, str | type | np.dtype) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None:
        raise TypeError(f"`{name}` must be a floating or complex dtype, got {shown(value)}.")
    if not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize < 2:
        raise TypeError(f"`{name}` must be a floating or complex dtype of at least 16 bits, got {dtype}.")
    return jax.dtypes.canonicalize_dtype(dtype)


def keys(key: Any, number: int) -> Sequence[jax.Array | None]:
    """So many keys of one, or of none."""
    if key is None:
        return [None] * number
    try:
        return [*jax.random.split(key, number)]
    except (TypeError, ValueError):
        got = shown(key)
        raise TypeError(f"`key` must be a PRNG key, got {got}; make one with jax.random.key(0).") from None


def initial(
    name: str, init: Callable[..., Any], key: jax.Array | None, shape: tuple[int, ...], dtype: Any
) -> jax.Array:
    value = drawn(name, init, key, shape, dtype)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        value = value if is_reference(value) else jnp.asarray(value)
    kind = jnp.number if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.floating
    if not is_array(value, kind, jnp.integer, jnp.bool_):
        raise TypeError(f"`{name}` must return an array of {dtype}, got {kind_of(value)}.")
    if value.shape != shape:
        raise ValueError(f"`{name}` must return the shape {shape}, got {value.shape}.")
    return value.astype(dtype)


def drawn(name: str, init: Any, key: jax.Array | None, shape: tuple[int, ...], dtype: Any) -> Any:
    """What an initialiser returns, which for a layer of Flax may be more than an array."""
    try:
        return init(key, shape, dtype)
    except Exception as error:
        # That of a call that never began has no place in the function.
        if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise TypeError(
                f"`{name}` must be a function (key, shape, dtype) -> array, got {shown(init)}; see jax.nn.initializers."
            ) from error
        if key is not None:
            raise
        raise ValueError(
            f"`{name}` failed without a PRNG key ({type(error).__name__}); if it is random, pass e.g. "
            "key=jax.random.key(0)."
        ) from error
