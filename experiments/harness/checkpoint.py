"""Checkpoints by Orbax, each with a fingerprint, so that a damaged one is seen and the one before it is used."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.harness.errors import UserError

Pytree = Any


class Checkpoints:
    """The last two checkpoints of a run, in a folder of their own; of several processes, for the first alone.

    Args:
        folder: made where it is missing.

    Raises:
        UserError: the folder can't be written; so do the methods that write.
    """

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp

        self._args = ocp.args
        self._folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2,
            enable_async_checkpointing=False,
            create=False,
            # It waits for no other process.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            # With the handler named, Orbax need not guess the layout from the newest checkpoint, which may be damaged.
            self._manager = ocp.CheckpointManager(
                folder.resolve(), options=options, item_handlers=ocp.StandardCheckpointHandler()
            )

    def save(self, step: int, tree: Pytree) -> None:
        """Save `tree`, a pytree of arrays, as that of `step`: whole, or not at all."""
        content = {"tree": tree, "fingerprint": _fingerprint(tree)}
        with self._writing():
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
                reason = _reason(error)
            else:
                if np.array_equal(found["fingerprint"], _fingerprint(found["tree"])):
                    return step, found["tree"]
                reason = "its content does not match its fingerprint"
            report(f"The checkpoint of step {step} is damaged ({reason}); trying the one before it.")
            with self._writing():
                self._manager.delete(step)
        return None

    def clear(self) -> None:
        """Delete all checkpoints of this folder."""
        with self._writing():
            for step in self._manager.all_steps():
                self._manager.delete(step)

    def close(self) -> None:
        """Release what Orbax holds."""
        self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:  # What Orbax and its storage layers make of a full disk.
            raise UserError(
                f"{self._folder} could not be written ({_reason(error)}); make room there, or name another --out."
            ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Orbax wraps the system's words in a paragraph of its own.
    text = str(error)
    return (
        "No space left on device" if "No space left" in text else (text or type(error).__name__).splitlines()[0][:120]
    )


def _fingerprint(tree: Pytree) -> np.ndarray:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
