"""The checks and errors of what every tool here does: read the data, trace the call, find the batch norms in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

_ITERABLE = ("__iter__", "__getitem__")


def function(apply: Any) -> None:
    if not callable(apply):
        raise TypeError(f"`apply` must be a function (variables, batch), got {type(apply).__name__}.")


def iterable(batches: Any) -> Any:
    single = isinstance(batches, Mapping)
    if single or isinstance(batches, str | bytes | jax.Ref) or not any(hasattr(batches, way) for way in _ITERABLE):
        raise TypeError(
            f"`batches` must be an array or an iterable of batches, got {type(batches).__name__}; "
            + ("a single batch is one in a list." if single else "give what `apply` takes, in a list.")
        )
    return iter(batches)


@contextlib.contextmanager
def explained(batch: Any, arrays: Sequence[Any]) -> Iterator[None]:
    """An error of `apply` stays what it is, but may come from data that are none."""
    try:
        yield
    except Exception as error:
        if not arrays:
            error.add_note(f"`batches` gave a {type(batch).__name__} without arrays; a batch is what `apply` takes.")
        raise


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


def holds(name: str, old: Any, new: Any) -> None:
    if np.iscomplexobj(new) and not np.iscomplexobj(old):
        raise TypeError(f"`variables` must hold a complex running mean for complex data, got {old.dtype} in {name!r}.")
