"""A training run with a folder of its own: its settings, its metrics, its checkpoints, and a way back into it.

The only place where what a run has computed becomes files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.harness import files, progress, results, training
from experiments.harness.checkpoint import Checkpoints
from experiments.harness.errors import UserError
from experiments.harness.placement import fetch, place
from experiments.harness.processes import activity
from experiments.harness.processes.agreement import from_first, in_first
from experiments.harness.stopwatch import Stopwatch

# The step, the state there and the seconds spent until then.
Start = dict[str, Any]


def run_in_folder(
    folder: Path,
    settings: dict[str, Any],
    problem: training.Problem,
    data: Any,
    batches: Callable[[int, int], np.ndarray],
    *,
    seeds: list[int],
    steps: int,
    evaluate_every: int,
    evaluate: Callable[[training.TrainState, int, np.ndarray], training.Metrics],
    on_evaluation: Callable[[training.Evaluation], None],
    resume: bool,
    console: Console,
) -> float:
    """Train, and keep `config.json`, `metrics.jsonl` and `checkpoints/` in the folder up to date.

    Of several processes, the first alone reads and writes files, and sends the others what it has read.

    Args:
        folder: of this run alone; its name is that of the run. Earlier results there are replaced, unless resumed.
        settings: all that the results depend on, as JSON.
        problem: as in `training.train`.
        data: as in `training.train`.
        batches: as in `training.train`.
        seeds: one member of the training for each.
        steps: as in `training.train`.
        evaluate_every: as in `training.train`.
        evaluate: as in `training.train`.
        on_evaluation: called after an evaluation has been written.
        resume: go on from the last checkpoint, if there is one; the results are then those of an unbroken run.
        console: to print and show progress on.

    Returns:
        The seconds that the run took, those before it was interrupted included.

    Raises:
        UserError: the settings differ from those of the run to be resumed, or a file can't be written.
    """
    state = training.init_state(problem, seeds)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params)) // len(seeds)
    of_seeds = f", means of {len(seeds)} seeds" if len(seeds) > 1 else ""
    console.print(f"\n{folder.name}: {parameters:,} parameters, {steps:,} steps{of_seeds}")
    with contextlib.closing(_Files(folder, settings, seeds, evaluate_every)) as own:
        begin: Start = {"step": np.zeros((), np.int64), "state": fetch(state), "seconds": np.zeros(())}
        begin = from_first(lambda: own.begin(begin, console, resume=resume), like=begin)
        first_step, spent = int(begin["step"]), float(begin["seconds"])
        stopwatch = Stopwatch(spent)

        def keep(evaluation: training.Evaluation, state: training.TrainState) -> None:
            content = {"state": fetch(state), "seconds": np.array(stopwatch.seconds())}
            in_first(lambda: own.keep(evaluation, content))
            on_evaluation(evaluation)

        with progress.progress(console, folder.name, steps, first_step) as on_progress:
            training.train(
                problem,
                place(begin["state"]),
                data,
                batches,
                first_step=first_step,
                steps=steps,
                evaluate_every=evaluate_every,
                evaluate=evaluate,
                on_progress=on_progress,
                on_evaluation=keep,
            )
    return spent if first_step == steps else stopwatch.seconds()


class _Files:
    """The files of a run, of which only the first process knows."""

    def __init__(self, folder: Path, settings: dict[str, Any], seeds: list[int], evaluate_every: int) -> None:
        self._folder, self._settings, self._seeds, self._evaluate_every = folder, settings, seeds, evaluate_every
        self._metrics = folder / "metrics.jsonl"
        self._saved: Checkpoints | None = None
        self._records: list[results.Record] = []

    def begin(self, anew: Start, console: Console, *, resume: bool) -> Start:
        """Where the run starts: from the last checkpoint if it is resumed and there is one, or else anew."""
        if resume:
            require_same_settings(self._folder, self._settings)
        saved = self._saved = Checkpoints(self._folder / "checkpoints")
        found = None
        # Without settings there is nothing to go on from: they are written before the first checkpoint.
        if resume and files.read_json(self._folder / "config.json") is not None:
            found = saved.restore({"state": anew["state"], "seconds": anew["seconds"]}, console.print)
        if found is None:
            saved.clear()
            results.write_records(self._metrics, [])
        else:
            self._records = [r for r in results.read_records(self._metrics) if r["step"] <= found[0]]
            self._require_all(found[0])
            activity.save(self._folder.name, found[0])
            console.print(f"going on from step {found[0]:,}")
        files.write_json(self._folder / "config.json", self._settings)
        return anew if found is None else {"step": np.array(found[0]), **found[1]}

    def keep(self, evaluation: training.Evaluation, content: dict[str, Any]) -> None:
        """Write an evaluation and a checkpoint."""
        self._records.extend(results.to_records(evaluation.step, self._seeds, evaluation.metrics))
        # The metrics first: a checkpoint must never know of an evaluation that the file has lost.
        results.write_records(self._metrics, self._records)
        assert self._saved is not None
        self._saved.save(evaluation.step, content)
        activity.save(self._folder.name, evaluation.step)

    def close(self) -> None:
        """Release what the checkpoints hold."""
        if self._saved is not None:
            self._saved.close()

    def _require_all(self, step: int) -> None:
        expected = len({*range(self._evaluate_every, step, self._evaluate_every), step}) * len(self._seeds)
        if len(self._records) != expected:
            raise UserError(
                f"`--resume` needs all {expected} lines of {self._metrics} up to step {step:,}, got "
                f"{len(self._records)}; leave out --resume to start anew."
            )


def require_resumable(out: Path, settings: Mapping[str, dict[str, Any]]) -> None:
    """Refuse to resume runs, given by the names of their folders in `out`, with other settings than they had."""
    for name, of_run in settings.items():
        require_same_settings(out / name, of_run)


def require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to resume the run in a folder, if there is one, with other settings than it had."""
    earlier = files.read_json(folder / "config.json")
    if earlier is None:
        return
    for name, value in settings.items():
        if earlier.get(name) != value:
            raise UserError(
                f"`--resume` needs the settings of the earlier run in {folder}, whose {name} was {earlier.get(name)}, "
                f"got {value}; give the same flags, or another --out."
            )
