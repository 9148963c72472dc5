"""The checks and errors of `recalibrate` alone."""

from __future__ import annotations

import operator
from collections.abc import Hashable
from typing import Any

import numpy as np

from jaxbn import _checks
from jaxbn.inference._population import checks as shared
from jaxbn.inference._population.population import Population, is_traced


def recalibration(apply: Any, samples: Any, tolerance: Any, order: Any, prior: Any, axis_name: Any) -> None:
    shared.function(apply)
    _checks.choice("order", order, ("layers", "pass"))
    if samples is not None:
        try:
            number = None if isinstance(samples, bool) else operator.index(samples)
        except TypeError:
            number = None
        if number is None:
            raise TypeError(f"`samples` must be an int or None, got {_checks.shown(samples)}.")
        if number < 1:
            raise ValueError(f"`samples` must be at least 1, got {samples}; None uses all of the data.")
    if tolerance is not None:
        known_number("tolerance", tolerance)
        if not 0 < tolerance < float("inf"):
            raise ValueError(
                f"`tolerance` must be positive and finite, got {tolerance}; it is a part of the running standard "
                "deviation, e.g. 0.01."
            )
    known_number("prior", prior)
    if not 0 <= prior < float("inf"):
        raise ValueError(f"`prior` must be finite and at least 0, got {prior}; it is a number of samples.")
    for axis in axis_name if isinstance(axis_name, tuple | list) else [axis_name]:
        # A number would be taken for an axis of the array.
        if isinstance(axis, int | float) or not isinstance(axis, Hashable):
            raise TypeError(
                f"`axis_name` must be the name of a mapped axis, or several in a tuple, got {_checks.shown(axis_name)}."
            )


def known_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"`{name}` must be a real number, got {_checks.shown(value)}.")
    _checks.scalar(name, value)


def only_values(samples: Any, tolerance: Any) -> None:
    """Where nothing is known of the values, no rule can stop."""
    for name, rule in (("samples", samples), ("tolerance", tolerance)):
        if rule is not None:
            raise ValueError(
                f"`{name}` must be None inside of jit, vmap and shard_map, got {rule}; give fewer batches."
            )


def finite(name: str, batch: int, total: Any) -> None:
    if isinstance(total, Population) and not is_traced(total) and not _all_finite(total.mean, total.m2):
        raise ValueError(
            f"`batches` must give finite inputs, and small enough to be squared, got NaN, inf or more at the batch "
            f"norm {name!r} in batch {batch}; leave it out, or look at what comes before that layer."
        )


def sound(name: str, prior: float, mean: Any, var: Any) -> None:
    """Of statistics that are no statistics nothing is learnt."""
    if not is_traced((mean, var)) and not (_all_finite(mean, var) and np.all(var >= 0)):
        raise ValueError(
            f"`prior` must be 0 where the old statistics are broken, got {prior} and NaN, inf or a negative variance "
            f"at the batch norm {name!r}; leave it out."
        )


def _all_finite(*parts: Any) -> bool:
    return all(np.all(np.isfinite(part)) for part in parts)
