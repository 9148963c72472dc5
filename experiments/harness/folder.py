"""A training run with a folder of its own, and a way back into it.

The only place where what a run has computed becomes files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.harness import progress, training
from experiments.harness.placement import fetch, place
from experiments.harness.processes import watch
from experiments.harness.processes.agreement import from_first, in_first, is_first
from experiments.harness.run_files import RunFiles
from experiments.harness.sound import SoundSeeds
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
    explain: Callable[[training.TrainState], str],
    resume: bool,
    console: Console,
) -> float:
    """Train, and keep `config.json`, `metrics.jsonl` and `checkpoints/` in the folder up to date.

    A run that is stopped keeps a checkpoint of its last dispatch. A seed whose metrics are not finite is left out from
    then on; where none is left, the run ends.

    Of several processes, the first alone reads and writes files, and sends the others what it has read.

    Args:
        folder: of this run alone; its name is that of the run. An earlier run there gives way to
            the first evaluation, unless resumed.
        settings: all that the results depend on, as JSON.
        problem: as in `training.train`.
        data: as in `training.train`.
        batches: as in `training.train`.
        seeds: one member of the training for each.
        steps: as in `training.train`.
        evaluate_every: as in `training.train`.
        evaluate: as in `training.train`.
        on_evaluation: called after an evaluation has been written, with what was measured of the sound seeds.
        explain: as in `SoundSeeds`.
        resume: go on from the last checkpoint, if there is one; the results are then those of an unbroken run.
        console: to print and show progress on.

    Returns:
        The seconds that the run took, those before it was interrupted included.

    Raises:
        UserError: a file can't be written, or no seed has finite metrics.
    """
    state = training.init_state(problem, seeds)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params)) // len(seeds)
    of_seeds = f", means of {len(seeds)} seeds" if len(seeds) > 1 else ""
    console.print(f"\n{folder.name}: {parameters:,} parameters, {steps:,} steps{of_seeds}")
    with contextlib.closing(RunFiles(folder, settings)) as own:
        tree = {"state": fetch(state), "left_out": np.zeros(len(seeds), bool)}
        begin = {"step": np.zeros((), np.int64), "seconds": np.zeros(()), "tree": tree}
        begin = from_first(lambda: own.begin(begin, console, resume=resume), like=begin)
        first_step, spent = int(begin["step"]), float(begin["seconds"])
        stopwatch = Stopwatch(spent)

        def content(state: training.TrainState) -> dict[str, Any]:
            return {"state": fetch(state), "left_out": sound.left_out.copy()}

        sound = SoundSeeds(seeds, begin["tree"]["left_out"], explain)

        def keep(evaluation: training.Evaluation, state: training.TrainState) -> None:
            said = sound.look(evaluation, state)
            if not sound.seeds:
                in_first(lambda: own.give_up(said[-1]))
            for line in said:
                console.print(f"{folder.name}: {line}; it is left out")
            evaluation, seconds, tree = sound.of(evaluation), stopwatch.seconds(), content(state)
            in_first(lambda: own.keep(evaluation, sound.seeds, seconds, tree))
            on_evaluation(evaluation)

        with progress.progress(console, folder.name, steps, first_step) as on_progress:

            def on_dispatch(step: int, state: training.TrainState) -> None:
                try:
                    on_progress(step)
                except progress.Stopped:
                    # A bad state would take a good one's place.
                    if is_first() and sound.are_finite(state):
                        own.keep_unevaluated(step, stopwatch.seconds(), content(state))
                    watch.stop()
                    raise

            training.train(
                problem,
                place(begin["tree"]["state"]),
                data,
                batches,
                first_step=first_step,
                steps=steps,
                evaluate_every=evaluate_every,
                evaluate=evaluate,
                on_dispatch=on_dispatch,
                on_evaluation=keep,
            )
    return spent if first_step == steps else stopwatch.seconds()
