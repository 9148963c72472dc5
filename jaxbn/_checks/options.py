"""Flags, numbers and choices: what a norm is told beside its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn._checks.arrays import array, is_array
from jaxbn._checks.words import shown


def flag(name: str, value: Any, remedy: str = "") -> bool | jax.Array:
    """A Python bool where the value is known without tracing, otherwise a bool scalar array."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if not hasattr(value, "dtype"):
        raise TypeError(f"`{name}` must be a bool, got {shown(value)}{remedy}.")
    if value.dtype != jnp.bool_:
        raise TypeError(f"`{name}` must be a bool, got an array of {value.dtype}; compare it with something.")
    if value.shape != ():
        raise ValueError(f"`{name}` must be a scalar, got the shape {value.shape}; jax.vmap takes one per member.")
    return array(value, name)


def switch(name: str, value: Any) -> bool:
    """A flag that decides what there is, so that it can't be traced."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be a bool, got {shown(value)}.")
    return bool(value)


def scalar(name: str, value: Any) -> None:
    if not isinstance(value, int | float) and not is_array(value, jnp.floating, jnp.integer):
        raise TypeError(f"`{name}` must be a real number, got {shown(value)}.")
    if np.ndim(value) != 0:
        raise ValueError(f"`{name}` must be a scalar, got the shape {np.shape(value)}.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"`{name}` must be a number of at most 64 bits, got {shown(value)}; write it as a float.")


def is_known(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray)


def momentum(value: Any) -> None:
    scalar("momentum", value)
    if is_known(value) and not 0 <= value <= 1:
        raise ValueError(f"`momentum` must lie between 0 and 1, got {value}; it is the weight of the old statistics.")


def epsilon(value: Any) -> None:
    scalar("epsilon", value)
    if is_known(value) and not 0 <= value < float("inf"):
        raise ValueError(f"`epsilon` must be finite and at least 0, got {value}.")


def update_rule(averaging: object, ddof: object) -> None:
    choice("averaging", averaging, ("ema", "warmup", "cumulative"))
    choice("ddof", ddof, (0, 1))


def choice(name: str, value: object, allowed: Sequence[object]) -> None:
    if not any(type(value) is type(a) and value == a for a in allowed):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {shown(value)}.")
