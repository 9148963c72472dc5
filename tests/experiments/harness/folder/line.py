"""A small run with a folder, for the tests of what becomes of its files."""

import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import folder as folders
from experiments.harness import training
from experiments.harness.checkpoint import Checkpoints
from experiments.harness.training import Evaluation, Problem, TrainState

SEEDS = [3, 8]
STEPS = 430
EVERY = 100
SETTINGS = {"model": "line", "steps": STEPS, "rate": 0.1, "seeds": SEEDS}
OTHER = {**SETTINGS, "rate": 0.2}
DATA = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def init(key: jax.Array) -> tuple[Any, Any]:
    return {"w": jax.random.normal(key, (4,))}, {"mean": jnp.zeros(())}


def loss(params: Any, extras: Any, data: jax.Array, indices: jax.Array) -> tuple[jax.Array, Any]:
    y = data[indices] @ params["w"]
    return ((y - 1) ** 2).mean(), {"mean": 0.9 * extras["mean"] + 0.1 * y.mean()}


PROBLEM = Problem(init, loss, optax.sgd(0.01, momentum=0.9))


def batches(first: int, count: int) -> np.ndarray:
    return np.stack(
        [np.random.default_rng((7, step)).integers(0, 50, (2, 5)) for step in range(first, first + count)], 1
    )


def evaluate(state: TrainState, step: int, last_batch: np.ndarray) -> training.Metrics:
    return {"w": np.asarray(state.params["w"]).sum(axis=1), "batch": last_batch.mean(axis=1)}


def start(
    folder: Path, *, resume: bool = False, settings: Any = SETTINGS, stop_at: int | None = None, console: Any = None
) -> str:
    """Returns what was printed; `stop_at` is the step whose evaluation meets Ctrl-C."""
    console = console or Console(file=io.StringIO(), width=160)

    def on_evaluation(evaluation: Evaluation) -> None:
        if evaluation.step == stop_at:
            raise KeyboardInterrupt

    folders.run_in_folder(
        folder,
        settings,
        PROBLEM,
        jnp.asarray(DATA),
        batches,
        seeds=SEEDS,
        steps=STEPS,
        evaluate_every=EVERY,
        evaluate=evaluate,
        on_evaluation=on_evaluation,
        explain=lambda _: "it is broken",
        resume=resume,
        console=console,
    )
    return console.file.getvalue()


def final_state(folder: Path) -> Any:
    saved = Checkpoints(folder / "checkpoints", SETTINGS)
    state = training.init_state(PROBLEM, SEEDS)
    found = saved.restore({"state": state, "left_out": np.zeros(2, bool)}, print)
    saved.close()
    assert found is not None
    return found.measured.step, found.tree["state"]


def assert_same(folder: Path, whole: Path) -> None:
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    step, state = final_state(folder)
    assert step == STEPS
    jax.tree.map(np.testing.assert_array_equal, state, final_state(whole)[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
