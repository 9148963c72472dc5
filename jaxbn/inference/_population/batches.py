"""Data as one array or as an iterable of batches, read as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxbn.inference._population import checks as _checks
from jaxbn.inference._population.program import is_array


def reader(batches: Any, *, keep: bool) -> Callable[[], Iterator[Any]]:
    """A function that begins to read anew; what can be read only once is kept, if it is to be read again."""
    if is_array(batches):
        return lambda: iter([batches])
    if hasattr(batches, "__array__") and not isinstance(batches, np.ndarray):
        # A tensor of another framework would be taken for an iterable of its rows.
        whole = np.asarray(batches)
        return lambda: iter([whole])
    iterator = _checks.iterable(batches)
    if iterator is not batches:
        return lambda: iter(batches)
    kept: list[Any] = []

    def read() -> Iterator[Any]:
        yield from kept
        for batch in iterator:
            if keep:
                kept.append(batch)
            yield batch

    return read
