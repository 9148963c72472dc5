"""What only the variants can be given, checked; the words are of the kind of `jaxbn._checks`."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax

from jaxbn import _checks


def limit(name: str, value: Any, least: int) -> None:
    _checks.scalar(name, value)
    if _checks.is_known(value) and not value >= least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}; inf is no limit.")


def positive_int(name: str, value: Any) -> int:
    try:
        known = operator.index(value)
    except TypeError:
        known = None
    if known is None or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an int, got {_checks.shown(value)}.")
    if known < 1:
        raise ValueError(f"`{name}` must be at least 1, got {_checks.shown(known)}.")
    if known >= 2**31:
        raise ValueError(f"`{name}` must be less than 2**31, got {_checks.shown(known)}.")
    return known


def resting(state: Any) -> None:
    """A state that does not accumulate yet."""
    _checks.is_state(state)
    if hasattr(state, "micro_batches"):
        raise TypeError(
            f"`state` must be BatchNormState, got {type(state).__name__}; replace its `micro_batches` instead."
        )
    _checks.statistic("state.mean", state.mean)
    _checks.statistic("state.var", state.var)


def ghost_size(value: Any, x: jax.Array, feature_axes: Sequence[int]) -> int:
    size = positive_int("ghost_size", value)
    if 0 in feature_axes:
        raise ValueError(
            f"`axis` must leave out axis 0, which is split into groups, got {tuple(feature_axes)} for `x` {x.shape}; "
            "move the examples to the front."
        )
    sharding = jax.typeof(x).sharding
    names = sharding.spec[0]
    if names is None:
        return size
    # Of an array that is known to be shared by devices, a part can't be cut across them.
    devices = math.prod(sharding.mesh.shape[name] for name in (names if isinstance(names, tuple) else (names,)))
    if x.shape[0] % (size * devices):
        raise ValueError(
            f"`ghost_size` must divide the examples that each device holds of an explicitly sharded `x`, got {size} "
            f"for {x.shape[0]} examples on {devices} devices; choose e.g. {max(x.shape[0] // devices, 1)}."
        )
    return size


def one_variant(ghost_size: Any, r_max: Any, d_max: Any) -> None:
    """The options of a layer."""
    if (r_max is None) != (d_max is None):
        got = f"{_checks.shown(r_max)} and {_checks.shown(d_max)}"
        raise ValueError(f"`r_max` and `d_max` must be given together, got {got}; inf is no limit.")
    if ghost_size is not None and r_max is not None:
        got = _checks.shown(ghost_size)
        raise ValueError(f"`ghost_size` must be None beside `r_max` and `d_max`, got {got}; choose one of them.")
