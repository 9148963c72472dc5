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
from experiments.harness.stopwatch import Stopwatch


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
    if resume:
        require_same_settings(folder, settings)
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as saved:
        state = training.init_state(problem, seeds)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params)) // len(seeds)
        of_seeds = f", means of {len(seeds)} seeds" if len(seeds) > 1 else ""
        console.print(f"\n{folder.name}: {parameters:,} parameters, {steps:,} steps{of_seeds}")

        first_step, spent, records = 0, 0.0, []
        # Without settings there is nothing to go on from: they are written before the first checkpoint.
        if resume and files.read_json(folder / "config.json") is not None:
            found = saved.restore({"state": state, "seconds": np.zeros(())}, console.print)
            if found is not None:
                first_step, state, spent = found[0], place(found[1]["state"]), float(found[1]["seconds"])
                records = [r for r in results.read_records(folder / "metrics.jsonl") if r["step"] <= first_step]
                _require_all(records, first_step, evaluate_every, seeds, folder)
                console.print(f"going on from step {first_step:,}")
        if first_step == 0:
            saved.clear()
            results.write_records(folder / "metrics.jsonl", [])
        files.write_json(folder / "config.json", settings)
        stopwatch = Stopwatch(spent)

        def keep(evaluation: training.Evaluation, state: training.TrainState) -> None:
            records.extend(results.to_records(evaluation.step, seeds, evaluation.metrics))
            # The metrics first: a checkpoint must never know of an evaluation that the file has lost.
            results.write_records(folder / "metrics.jsonl", records)
            saved.save(evaluation.step, {"state": fetch(state), "seconds": np.array(stopwatch.seconds())})
            on_evaluation(evaluation)

        with progress.progress(console, folder.name, steps, first_step) as on_progress:
            training.train(
                problem,
                state,
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


def _require_all(records: list[results.Record], step: int, evaluate_every: int, seeds: list[int], folder: Path) -> None:
    expected = len({*range(evaluate_every, step, evaluate_every), step}) * len(seeds)
    if len(records) != expected:
        raise UserError(
            f"`--resume` needs all {expected} lines of {folder / 'metrics.jsonl'} up to step {step:,}, got "
            f"{len(records)}; leave out --resume to start anew."
        )
