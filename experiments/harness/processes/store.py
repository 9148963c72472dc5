"""The store that all processes share: short texts under names, in process 0.

JAX has it for its own needs, without a public way to it; each private name that we use is in this file.
"""

from __future__ import annotations

import contextlib
from typing import Any


class Store:
    """The store of the joined processes. Its methods block while process 0 does not answer."""

    def __init__(self) -> None:
        from jax._src import distributed

        client: Any = distributed.global_state.client
        self._client = client

    def put(self, name: str, text: str) -> None:
        """Write, over what was there."""
        self._client.key_value_set(name, text, allow_overwrite=True)

    def put_first(self, name: str, text: str) -> None:
        """Write, unless something is there."""
        with contextlib.suppress(Exception):  # ALREADY_EXISTS, in a class that differs between versions of JAX.
            self._client.key_value_set(name, text)

    def read(self, folder: str) -> dict[str, str]:
        """All texts whose names begin with `folder` and a slash, under the rest of the name."""
        found = self._client.key_value_dir_get(f"{folder}/")
        return {name.removeprefix(f"{folder}/"): text for name, text in found}
