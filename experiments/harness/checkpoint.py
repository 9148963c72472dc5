"""Checkpoints by Orbax, each under a seal, so that a damaged or a foreign one is seen and the one before it is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.harness.errors import UserError
from experiments.harness.log import mention

Pytree = Any
Record = dict[str, Any]


class Checkpoint(NamedTuple):
    """All that a run goes on from.

    Attributes:
        step: the training steps done.
        tree: a pytree of arrays.
        records: what has been measured so far, as JSON.
    """

    step: int
    tree: Pytree
    records: list[Record]


class Checkpoints:
    """The last two checkpoints of a run, in a folder of their own; of several processes, for the first alone.

    Args:
        folder: made where it is missing.
        settings: of the run, as JSON. Checkpoints of a run with other settings count as damaged.

    Raises:
        UserError: the folder can't be written; so do the methods that write.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import orbax.checkpoint as ocp

        self._args, self._folder, self._settings = ocp.args, folder, settings
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2,
            enable_async_checkpointing=False,
            create=False,
            # It waits for no other process.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        # With handlers named, Orbax need not guess the layout from the newest checkpoint, which may be damaged.
        handlers = {"tree": ocp.StandardCheckpointHandler(), "told": ocp.JsonCheckpointHandler()}
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint: whole, or not at all."""
        told = {"records": checkpoint.records, "seal": _seal(checkpoint, self._settings)}
        args = self._args.Composite(tree=self._args.StandardSave(checkpoint.tree), told=self._args.JsonSave(told))
        with self._writing():
            self._manager.save(checkpoint.step, args=args, force=True)

    def restore(self, like: Pytree, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest undamaged checkpoint, or `None`.

        Args:
            like: a pytree of the structure, shapes and dtypes that were saved.
            report: is told of every damaged checkpoint, in one line.
        """
        args = self._args.Composite(tree=self._args.StandardRestore(like), told=self._args.JsonRestore())
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._manager.restore(step, args=args)
                checkpoint = Checkpoint(step, found["tree"], found["told"]["records"])
                reason = None
                if found["told"]["seal"] != _seal(checkpoint, self._settings):
                    reason = "it is not what was saved under this step and these settings"
            except Exception as error:  # Orbax raises whatever its storage layers raise.
                reason = _reason(error)
            if reason is None:
                return checkpoint
            self._put_aside(step)
            then = "trying the one before it" if self._manager.all_steps() else "there is no other, starting anew"
            report(f"The checkpoint of step {step} is damaged ({reason}); {then}.{mention()}")
        return None

    def close(self) -> None:
        """Release what Orbax holds."""
        self._manager.close()

    def _put_aside(self, step: int) -> None:
        """Out of the way, but not away: perhaps it can't be read only today, as over a network."""
        aside = self._folder / f"damaged-{step}"
        with self._writing():
            if aside.exists():
                shutil.rmtree(aside)
            (self._folder / str(step)).rename(aside)
            self._manager.reload()

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


def _seal(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> str:
    told: Sequence[Any] = (checkpoint.step, settings, checkpoint.records)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for leaf in jax.tree.leaves(checkpoint.tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
