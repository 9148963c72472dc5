"""What several processes must agree on, so that none waits for one that has given up.

An error that the user can mend ends all processes, wherever it happened, and the first one says it. In a single process
all of this is nothing more than the call of a function.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich.console import Console

from experiments.harness.errors import AgreedError, UserError
from experiments.harness.processes import activity

Pytree = Any
T = TypeVar("T")


def is_first() -> bool:
    """Whether this is the process that writes and prints: the only one, or number 0."""
    return jax.process_index() == 0


@contextlib.contextmanager
def spoken_by_the_first(console: Console) -> Iterator[Console]:
    """Let the first process alone speak: the others get a silent console, and end without a word on what all know."""
    if is_first():
        yield console
        return
    try:
        yield Console(quiet=True)
    except AgreedError:
        raise SystemExit(2) from None


def in_all(function: Callable[[], T]) -> T:
    """What the function returns here, as soon as it has returned in all processes.

    Raises:
        UserError: that of the first process in which it was raised, in all of them.
    """
    if jax.process_count() == 1:
        return function()
    result: Any = None
    failure = ""
    try:
        result = function()
    except UserError as error:
        failure = str(error)
    for number, said in enumerate(_gather(failure)):
        if said:
            raise AgreedError(f"Process {number}: {said}" if number else said)
    return result


def in_first(function: Callable[[], T]) -> T | None:
    """What the function returns in the first process, which alone calls it; `None` in the others.

    Raises:
        UserError: as in `in_all`.
    """
    return in_all(function if is_first() else lambda: None)


def from_first(function: Callable[[], Pytree], like: Pytree) -> Pytree:
    """What the function returns in the first process, which alone calls it, in all of them.

    Args:
        function: returns a tree of NumPy arrays.
        like: a tree of the same structure, shapes and dtypes.

    Raises:
        UserError: as in `in_all`.
    """
    tree = in_first(function)
    if jax.process_count() == 1:
        return tree
    # As bytes, which are sent as they are: a sum, by which numbers are sent, has no negative zero.
    content = jax.tree.map(lambda leaf: np.ravel(leaf).view(np.uint8), tree if is_first() else like)
    activity.begin()
    content = multihost_utils.broadcast_one_to_all(content)
    return jax.tree.map(lambda of, leaf: of.view(leaf.dtype).reshape(leaf.shape), content, like)


def require_same(flags: Mapping[str, Any]) -> None:
    """Refuse flags, given by their names as JSON, and numbers of devices that differ between processes."""
    # Without an exchange, which needs as many devices in each.
    devices = np.bincount([device.process_index for device in jax.devices()])
    for process in np.flatnonzero(devices != devices[0]):
        raise AgreedError(
            f"`--distributed` needs as many devices in each process, got {devices[0]} in process 0 and "
            f"{devices[process]} in process {process}."
        )
    given = [json.loads(text) for text in _gather(json.dumps(flags))]
    for name, value in given[0].items():
        for number, others in enumerate(given):
            if others[name] != value:
                raise AgreedError(
                    f"`{name}` must be the same in all processes, got {value} in process 0 and {others[name]} in "
                    f"process {number}."
                )


def _gather(text: str) -> list[str]:
    """The texts of all processes."""
    content = text.encode()
    activity.begin()
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(content))))
    if not sizes.any():
        return [""] * len(sizes)
    # What is gathered has one shape in all processes.
    activity.begin()
    padded = np.frombuffer(content.ljust(sizes.max(), b"\0"), np.uint8)
    rows = np.atleast_2d(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]
