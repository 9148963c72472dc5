"""The files of one training run: `config.json`, `metrics.jsonl` and `checkpoints/`.

The checkpoints know all, and what they say is what goes on and is reported; `metrics.jsonl` is for other readers, and
written anew from the last checkpoint where a run goes on.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.harness import earlier, files, occupied, results, training
from experiments.harness.checkpoint import Checkpoint, Checkpoints, Measured, Pytree
from experiments.harness.errors import UserError
from experiments.harness.processes import activity

# A step, the seconds spent until then, and a tree of the state there.
Start = dict[str, Any]


def read_measured(folder: Path) -> Measured | None:
    """What the run in a folder has measured, as its newest checkpoint says; `None` where it has none.

    Raises:
        UserError: the checkpoint is damaged, or was made with other settings than `config.json` says, or that is.
    """
    if not (folder / "checkpoints").is_dir():
        return None
    settings = earlier.settings_of(folder)
    if settings is None:
        raise UserError(f"{folder} has no config.json that can be read; --resume with its settings makes it anew.")
    with contextlib.closing(Checkpoints(folder / "checkpoints", settings)) as saved:
        return saved.read_measured()


class RunFiles:
    """The files of a run, of which of several processes only the first knows.

    Until a new run has its first evaluation, it lies beside the earlier run that it replaces.

    Args:
        folder: of the run.
        settings: all that its results depend on, as JSON.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._place, self._step = folder, 0
        self._saved: Checkpoints | None = None
        self._records: list[results.Record] = []

    def begin(self, anew: Start, console: Console, *, resume: bool) -> Start:
        """Where the run starts: at the last checkpoint if it is resumed and has one, or else anew."""
        earlier.finish_replacement(self._folder)
        if resume and earlier.can_go_on(self._folder, self._settings):
            files.remove_partial(self._folder)
            self._open(self._folder)
            found = self._checkpoints.restore(anew["tree"], console.print)
            if found is None:
                raise UserError(
                    f"`--resume` needs a checkpoint, but {self._folder} has none; bring back a copy, or begin anew "
                    "with --overwrite instead of --resume."
                )
            self._step, seconds, self._records = found.measured
            self._discard_staged()
            files.write_json(self._folder / "config.json", self._settings)
            results.write_records(self._folder / "metrics.jsonl", self._records)
            activity.save(self._folder.name, self._step)
            console.print(f"going on from step {self._step:,}")
            return {"step": np.array(self._step), "seconds": np.array(seconds), "tree": found.tree}
        place = self._discard_staged()
        files.write_json(place / "config.json", self._settings)
        self._open(place)
        return anew

    def keep(self, evaluation: training.Evaluation, seeds: list[int], seconds: float, tree: Pytree) -> None:
        """Write an evaluation and a checkpoint."""
        self._records = self._records + results.to_records(evaluation.step, seeds, evaluation.metrics)
        self._save(evaluation.step, seconds, tree)
        if self._place != self._folder:
            self._replace()

    def keep_unevaluated(self, step: int, seconds: float, tree: Pytree) -> None:
        """Write a checkpoint between two evaluations, unless an earlier run would have to give way to it."""
        if step == self._step or (self._place != self._folder and self._folder.exists()):
            return
        self._save(step, seconds, tree)
        if self._place != self._folder:
            self._replace()

    def give_up(self, reason: str) -> None:
        """End the run, whose last state is not worth a checkpoint."""
        last = f"the last good state is the checkpoint of step {self._step:,}" if self._step else "no state was good"
        raise UserError(f"`{self._folder.name}` can't go on: {reason}; {last}, look at the data and the learning rate.")

    def close(self) -> None:
        """Release what the checkpoints hold."""
        if self._saved is not None:
            self._saved.close()
            self._saved = None

    @property
    def _checkpoints(self) -> Checkpoints:
        assert self._saved is not None
        return self._saved

    def _discard_staged(self) -> Path:
        place = earlier.staged(self._folder)
        with files.writing(place):
            if place.exists():
                shutil.rmtree(place)
        return place

    def _open(self, place: Path) -> None:
        self._place, self._saved = place, Checkpoints(place / "checkpoints", self._settings)

    def _save(self, step: int, seconds: float, tree: Pytree) -> None:
        # If somebody has deleted the folder under the run, it is whole again, unless another run has it now.
        occupied.hold()
        if not (self._place / "config.json").exists():
            files.write_json(self._place / "config.json", self._settings)
        results.write_records(self._place / "metrics.jsonl", self._records)
        self._checkpoints.save(Checkpoint(Measured(step, seconds, self._records), tree))
        self._step = step
        activity.save(self._folder.name, step)

    def _replace(self) -> None:
        # Orbax knows its files by their full names.
        self.close()
        earlier.replace(self._folder)
        self._open(self._folder)
