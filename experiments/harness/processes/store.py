"""The store that all processes share: short texts under names, in process 0.

JAX has it for its own needs, without a public way to it; each private name that we use is in this file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class NoAnswerError(Exception):
    """The store has not done what it was asked for."""


class Store:
    """The store of the joined processes. Its methods block while process 0 does not answer.

    Attributes:
        process: which this one is. `jax.process_index` would know only when all have told each other of their devices.
        count: how many there are.

    Raises:
        NoAnswerError: so do its methods.
    """

    def __init__(self) -> None:
        from jax._src import distributed

        joined: Any = distributed.global_state
        self.process: int = joined.process_id
        self.count: int = joined.num_processes
        self._client = joined.client

    def put(self, name: str, text: str) -> None:
        """Write, over what was there."""
        with _asking():
            self._client.key_value_set(name, text, allow_overwrite=True)

    def put_first(self, name: str, text: str) -> None:
        """Write, unless something is there."""
        with contextlib.suppress(NoAnswerError), _asking():
            self._client.key_value_set(name, text)

    def read(self, folder: str) -> dict[str, str]:
        """All texts whose names begin with `folder` and a slash, under the rest of the name."""
        with _asking():
            found = self._client.key_value_dir_get(f"{folder}/")
        return {name.removeprefix(f"{folder}/"): text for name, text in found}


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Of which class depends on JAX.
        raise NoAnswerError(str(error)) from error
