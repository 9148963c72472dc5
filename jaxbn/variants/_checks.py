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


def positive_int(name: str, value: Any) -> None:
    try:
        known = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an int, got {value!r}.") from None
    if isinstance(value, bool) or known < 1:
        raise ValueError(f"`{name}` must be at least 1, got {value}.")


def ghost_size(value: Any, x: jax.Array, feature_axes: Sequence[int]) -> None:
    positive_int("ghost_size", value)
    if 0 in feature_axes:
        raise ValueError(
            f"`axis` must leave out axis 0, which is split into groups, got {tuple(feature_axes)} for `x` {x.shape}; "
            "move the examples to the front."
        )
    sharding = jax.typeof(x).sharding
    names = sharding.spec[0]
    if names is None:
        return
    # Of an array that is known to be shared by devices, a part can't be cut across them.
    devices = math.prod(sharding.mesh.shape[name] for name in (names if isinstance(names, tuple) else (names,)))
    if x.shape[0] % (value * devices):
        raise ValueError(
            f"`ghost_size` must divide the examples that each device holds of an explicitly sharded `x`, got {value} "
            f"for {x.shape[0]} examples on {devices} devices; choose e.g. {max(x.shape[0] // devices, 1)}."
        )


def one_variant(ghost_size: Any, r_max: Any, d_max: Any) -> None:
    """The options of a layer."""
    if (r_max is None) != (d_max is None):
        raise ValueError(f"`r_max` and `d_max` must be given together, got {r_max} and {d_max}; inf is no limit.")
    if ghost_size is not None and r_max is not None:
        raise ValueError(f"`ghost_size` must be None beside `r_max` and `d_max`, got {ghost_size}; choose one of them.")
