"""The checks and errors of this package alone; the others it shares with the core."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxbn import _checks

_ITERABLE = ("__iter__", "__getitem__")


def recalibration(apply: Any, samples: Any, tolerance: Any, order: Any, prior: Any) -> None:
    if not callable(apply):
        raise TypeError(f"`apply` must be a function (variables, batch), got {type(apply).__name__}.")
    _checks.choice("order", order, ("layers", "pass"))
    if samples is not None:
        try:
            number = operator.index(samples)
        except TypeError:
            raise TypeError(f"`samples` must be an int or None, got {samples!r}.") from None
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


def known_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"`{name}` must be a real number, got {value!r}.")


def only_values(samples: Any, tolerance: Any) -> None:
    """Where nothing is known of the values, no rule can stop."""
    for name, rule in (("samples", samples), ("tolerance", tolerance)):
        if rule is not None:
            raise ValueError(
                f"`{name}` must be None inside of jit, vmap and shard_map, got {rule}; give fewer batches."
            )


def iterable(batches: Any) -> Any:
    if isinstance(batches, str | Mapping) or not any(hasattr(batches, way) for way in _ITERABLE):
        raise TypeError(
            f"`batches` must be an array or an iterable of batches, got {type(batches).__name__}; a single batch is "
            "one in a list."
        )
    return iter(batches)


def any_batch(number: int) -> None:
    if number == 0:
        raise ValueError("`batches` must hold at least one batch, got none; an iterator can be read only once.")


def any_layer(layers: Any) -> None:
    if not layers:
        raise ValueError(
            "`apply` must call a batch norm of jaxbn or Flax, got none; let it use the `variables` that it is given."
        )


def any_data(counts: Any) -> None:
    if not any(isinstance(count, jax.core.Tracer) for count in counts) and not any(
        np.any(count > 0) for count in counts
    ):
        raise ValueError("`batches` must hold data, got only empty or masked batches.")


def trains(layer: str, remedy: str) -> ValueError:
    return ValueError(f"`apply` must evaluate, got the batch norm {layer!r} in training; call it with {remedy}.")


def from_variables(mean: Any, var: Any, number: int) -> tuple[Any, Any]:
    for name, origin in (("mean", mean), ("variance", var)):
        if origin is None:
            raise ValueError(
                "`apply` must give each batch norm its statistics unchanged from the `variables` that it is given, got "
                f"a running {name} that is computed, or comes from elsewhere, in batch norm {number + 1}."
            )
    return mean, var


def opened(primitive: str) -> ValueError:
    return ValueError(
        f"`apply` must not call a batch norm inside of `{primitive}`, of which its input can't be had; use a scan or a "
        "Python loop."
    )


def mapped_axis(names: Any) -> ValueError:
    return ValueError(
        f"`axis_name` must name the axes {tuple(names)} of the shard_map in `apply`, over which the batch is spread, "
        "got None."
    )


def finite(name: str, batch: int, *parts: Any) -> None:
    if not all(np.all(np.isfinite(part)) for part in parts):
        raise ValueError(
            f"`batches` must give finite inputs, and small enough to be squared, got NaN, inf or more at the batch "
            f"norm {name!r} in batch {batch}; leave it out, or look at what comes before that layer."
        )


def holds(name: str, old: Any, new: Any) -> None:
    if np.iscomplexobj(new) and not np.iscomplexobj(old):
        raise TypeError(f"`variables` must hold a complex running mean for complex data, got {old.dtype} in {name!r}.")
