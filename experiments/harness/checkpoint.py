"""Checkpoints by Orbax, each under a seal, so that a damaged or a foreign one is seen and the one before it is used."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.harness import files
from experiments.harness.errors import UserError
from experiments.harness.log import mention

Pytree = Any
Record = dict[str, Any]


class Measured(NamedTuple):
    """What a run has come to, for readers that need none of its arrays.

    Attributes:
        step: the training steps done.
        seconds: what they took.
        records: what has been measured so far, as JSON.
    """

    step: int
    seconds: float
    records: list[Record]


class Checkpoint(NamedTuple):
    """All that a run goes on from: what it has measured, and a pytree of arrays."""

    measured: Measured
    tree: Pytree


class _DamagedError(Exception):
    """A checkpoint can't be read, or is not what was saved under its step and these settings."""


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
        handlers = {"tree": ocp.StandardCheckpointHandler(), "measured": ocp.JsonCheckpointHandler()}
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint: whole, or not at all."""
        measured, tree = checkpoint
        seal = self._seal(measured)
        content = {**measured._asdict(), "seal": seal, "seal_of_all": _seal_of_all(seal, tree)}
        args = self._args.Composite(tree=self._args.StandardSave(tree), measured=self._args.JsonSave(content))
        with self._writing():
            self._manager.save(measured.step, args=args, force=True)

    def restore(self, like: Pytree, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest undamaged checkpoint; `None` where there is none at all.

        Args:
            like: a pytree of the structure, shapes and dtypes that were saved.
            report: is told of every damaged checkpoint that is put aside, in one line.

        Raises:
            UserError: all of them are damaged; they are left as they are.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                checkpoint = self._read(step, tree=self._args.StandardRestore(like))
            except _DamagedError as error:
                damaged[step] = str(error)
                continue
            for other, reason in damaged.items():
                self._put_aside(other)
                report(f"The checkpoint of step {other} is damaged ({reason}); it is put aside.{mention()}")
            return checkpoint
        if damaged:
            reasons = ", ".join(f"step {step}: {reason}" for step, reason in damaged.items())
            raise UserError(
                f"`--resume` needs a checkpoint that can be read, but those in {self._folder} are damaged ({reasons}); "
                "bring back copies of them, or begin anew with --overwrite instead of --resume."
            )
        return None

    def read_measured(self) -> Measured | None:
        """What the newest checkpoint says of measurements; `None` where there is none.

        Raises:
            UserError: it is damaged.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        try:
            return self._read(step).measured
        except _DamagedError as error:
            raise UserError(
                f"The checkpoint of step {step} in {self._folder} is damaged ({error}); --resume goes on from the one "
                "before it, if that is there."
            ) from None

    def close(self) -> None:
        """Release what Orbax holds."""
        self._manager.close()

    def _read(self, step: int, **args: Any) -> Checkpoint:
        """A checkpoint, with its tree if there are arguments for it."""
        try:
            found = self._manager.restore(step, args=self._args.Composite(measured=self._args.JsonRestore(), **args))
            content, tree = found["measured"], found["tree"] if args else None
            measured = Measured(step, content["seconds"], content["records"])
            seals = [content["seal"], content["seal_of_all"]]
        except Exception as error:  # Orbax raises whatever its storage layers raise.
            raise _DamagedError(_reason(error)) from None
        seal = self._seal(measured)
        if seals != [seal, _seal_of_all(seal, tree) if args else seals[1]]:
            raise _DamagedError("it is not what was saved under this step and these settings")
        return Checkpoint(measured, tree)

    def _seal(self, measured: Measured) -> str:
        told = json.dumps([self._settings, measured], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

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
            with files.writing(self._folder):
                yield
        except ValueError as error:
            failure = _of_storage(str(error))
            if failure is None:
                raise
            raise files.unwritable(self._folder, failure) from None


def _of_storage(said: str) -> OSError | None:
    """What the storage below Orbax has met, if that is what was said; anything else is a mistake of ours."""
    if number := re.search(r"os_error_code='(\d+)'", said):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    status = re.match("([A-Z_]{5,}): ", said)
    return OSError(errno.EIO, status[1].replace("_", " ").lower()) if status else None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _seal_of_all(seal: str, tree: Pytree) -> str:
    digest = hashlib.sha256(seal.encode())
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
