"""Checkpoints by Orbax, each with a fingerprint, so that a damaged one is seen and the one before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

Pytree = Any


class Checkpoints:
    """The last two checkpoints of a run, in a folder of their own.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp

        self._args = ocp.args
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, step: int, tree: Pytree) -> None:
        """Save `tree`, a pytree of arrays, as that of `step`: whole, or not at all."""
        content = {"tree": tree, "fingerprint": _fingerprint(tree)}
        self._manager.save(step, args=self._args.StandardSave(content), force=True)

    def restore(self, like: Pytree, report: Callable[[str], None]) -> tuple[int, Pytree] | None:
        """The newest undamaged checkpoint, or `None`.

        Args:
            like: a pytree of the structure, shapes and dtypes that were saved.
            report: is told of every damaged checkpoint, in one line.

        Returns:
            The step and the pytree.
        """
        content = {"tree": like, "fingerprint": _fingerprint(like)}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._manager.restore(step, args=self._args.StandardRestore(content))
            except Exception as error:  # Orbax raises whatever its storage layers raise.
                reason = (str(error) or type(error).__name__).splitlines()[0][:120]
            else:
                if np.array_equal(found["fingerprint"], _fingerprint(found["tree"])):
                    return step, found["tree"]
                reason = "its content does not match its fingerprint"
            report(f"The checkpoint of step {step} is damaged ({reason}); trying the one before it.")
            self._manager.delete(step)
        return None

    def clear(self) -> None:
        """Delete all checkpoints of this folder."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def close(self) -> None:
        """Release what Orbax holds."""
        self._manager.close()


def _fingerprint(tree: Pytree) -> np.ndarray:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
