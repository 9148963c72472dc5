"""Parameters, running statistics and moments: what each is made of, and that they fit each other and the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn._checks.arrays import is_array, kind_of


def fits(params: Any, state: Any, x: jax.Array, feature_axes: Sequence[int], *, of: str = "state.") -> None:
    """Parameters and statistics have the shape of the feature axes, and are complex only together with `x`."""
    expected = tuple(x.shape[a] for a in feature_axes)
    if not (hasattr(params, "scale") and hasattr(params, "bias")):
        raise TypeError(f"`params` must be BatchNormParams, got {type(params).__name__}; see init_batch_norm.")
    is_state(state)
    parts = {
        "params.scale": params.scale,
        "params.bias": params.bias,
        f"{of}mean": state.mean,
        f"{of}var": state.var,
    }
    for name, part in parts.items():
        if part is None:
            continue
        if not is_array(part, jnp.number, jnp.bool_):
            raise TypeError(f"`{name}` must be an array, got {kind_of(part)}; convert it with jnp.asarray.")
        if jnp.shape(part) != expected:
            raise ValueError(
                f"`{name}` must have the shape {expected} of the feature axes of `x` {x.shape}, got {jnp.shape(part)}; "
                "check `axis`, and the `features` given to init_batch_norm."
            )
        if jnp.iscomplexobj(part) and (name == f"{of}var" or not jnp.iscomplexobj(x)):
            raise TypeError(f"`{name}` must be real for `x` of {x.dtype}, got {part.dtype}.")
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(state.mean):
        raise TypeError(
            f"`{of}mean` must be complex for `x` of {x.dtype}, got {state.mean.dtype}; "
            f"use init_batch_norm(..., dtype='{x.dtype}')."
        )


def is_state(state: Any) -> None:
    if not (hasattr(state, "mean") and hasattr(state, "var") and hasattr(state, "count")):
        raise TypeError(f"`state` must be BatchNormState, got {type(state).__name__}; see init_batch_norm.")


def statistic(name: str, part: Any) -> None:
    if not is_array(part, jnp.inexact) or part.dtype.itemsize < 2:
        raise TypeError(f"`{name}` must be a floating array, got {kind_of(part)}; see init_batch_norm.")


def state_values(state: Any) -> None:
    """Types, shapes and values of a state that is no tracer."""
    is_state(state)
    if any(isinstance(part, jax.core.Tracer) for part in (state.mean, state.var, state.count)):
        raise TypeError("`state` must hold values, got a traced array; call check_state outside of jit, vmap and grad.")
    _state_parts(state)
    if state.count.shape != ():
        raise ValueError(
            f"`state.count` must be a scalar, got the shape {state.count.shape}; of several states, check each."
        )
    for name in ("mean", "var", "count"):
        part = np.asarray(getattr(state, name))
        _values(f"state.{name}", part, ~np.isfinite(part), "finite")
        if name != "mean":
            _values(f"state.{name}", part, part < 0, "at least 0")


def _state_parts(state: Any) -> None:
    """An average in half precision sticks, and one of integers does not move at all."""
    kinds = {
        "mean": (jnp.inexact, "a floating or complex"),
        "var": (jnp.floating, "a floating"),
        "count": (jnp.integer, "an integer"),
    }
    for name, (kind, words) in kinds.items():
        part = getattr(state, name)
        if not is_array(part, kind):
            raise TypeError(f"`state.{name}` must be {words} array, got {kind_of(part)}; see init_batch_norm.")
        if kind is not jnp.integer and jnp.finfo(part.dtype).bits < 32:
            raise TypeError(
                f"`state.{name}` must be at least float32 to be updated, got {part.dtype}, in which an average sticks; "
                f"convert it with state.{name}.astype('float32')."
            )
    if state.var.shape != state.mean.shape:
        raise ValueError(f"`state.var` must have the shape {state.mean.shape} of `state.mean`, got {state.var.shape}.")


def _values(name: str, part: np.ndarray, wrong: np.ndarray, words: str) -> None:
    if np.any(wrong):
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f" for feature {first}, one of {np.sum(wrong)} such" if first else ""
        raise ValueError(f"`{name}` must be {words}, got {part[first]}{where}; restore an earlier state.")


def moments(name: str, value: Any) -> None:
    """Three arrays, of which only the mean may be complex."""
    if not (hasattr(value, "count") and hasattr(value, "mean") and hasattr(value, "m2")):
        raise TypeError(f"`{name}` must be Moments, got {type(value).__name__}; see batch_moments.")
    for part, kind in (("count", jnp.floating), ("mean", jnp.inexact), ("m2", jnp.floating)):
        if not is_array(getattr(value, part), kind) or getattr(value, part).dtype.itemsize < 2:
            got = kind_of(getattr(value, part))
            raise TypeError(
                f"`{name}.{part}` must be a floating array, got {got}; convert it with jnp.asarray(..., 'float32')."
            )


def moments_fit_state(moments: Any, state: Any) -> None:
    is_state(state)
    _state_parts(state)
    for name, part in zip(("count", "mean", "m2"), moments, strict=True):
        if part.shape != state.mean.shape:
            raise ValueError(
                f"`moments.{name}` must have the shape {state.mean.shape} of `state.mean`, got {part.shape}."
            )
    if jnp.iscomplexobj(moments.mean) and not jnp.iscomplexobj(state.mean):
        raise TypeError(
            f"`state.mean` must be complex for complex moments, got {state.mean.dtype}; use init_state(..., "
            f"dtype='{moments.mean.dtype}')."
        )


def same_shapes(**moments: Any) -> None:
    shapes = [tuple(part.shape for part in m) for m in moments.values()]
    if len({shape for each in shapes for shape in each}) > 1:
        names, got = (" and ".join(map(str, found)) for found in ((f"`{name}`" for name in moments), shapes))
        raise ValueError(f"{names} must have arrays of one shape, got {got}.")
