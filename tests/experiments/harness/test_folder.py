"""A run with a folder: interrupted anywhere and resumed, it ends as the unbroken one, bit for bit."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.harness import folder as folders
from experiments.harness import training
from experiments.harness.checkpoint import Checkpoints
from experiments.harness.errors import UserError
from experiments.harness.training import Evaluation, Problem, TrainState

# Orbax stops reading at the first damaged file, and its threads then find their event loop closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SEEDS = [3, 8]
STEPS = 430
EVERY = 100
SETTINGS = {"model": "line", "steps": STEPS, "rate": 0.1, "seeds": SEEDS}
DATA = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32)


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


def start(folder: Path, *, resume: bool = False, settings: Any = SETTINGS, stop_at: int | None = None) -> str:
    """Returns what was printed; `stop_at` is the step whose evaluation meets Ctrl-C."""
    console = Console(file=io.StringIO(), width=160)

    def on_evaluation(evaluation: Evaluation) -> None:
        if evaluation.step == stop_at:
            raise KeyboardInterrupt

    folders.run_in_folder(
        folder,
        settings,
        PROBLEM,
        DATA,
        batches,
        seeds=SEEDS,
        steps=STEPS,
        evaluate_every=EVERY,
        evaluate=evaluate,
        on_evaluation=on_evaluation,
        resume=resume,
        console=console,
    )
    return console.file.getvalue()


def final_state(folder: Path) -> Any:
    saved = Checkpoints(folder / "checkpoints")
    found = saved.restore({"state": training.init_state(PROBLEM, SEEDS), "seconds": np.zeros(())}, print)
    saved.close()
    assert found is not None
    return found[0], found[1]["state"]


def assert_same(folder: Path, whole: Path) -> None:
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    jax.tree.map(np.testing.assert_array_equal, final_state(folder), final_state(whole))
    assert final_state(folder)[0] == STEPS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of an unbroken run, which nothing changes."""
    folder = tmp_path_factory.mktemp("whole") / "line"
    start(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Returns a copy of it."""
    return shutil.copytree(whole, tmp_path / "line")


def test_the_folder_holds_settings_metrics_and_checkpoints(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == ["checkpoints", "config.json", "metrics.jsonl"]
    assert json.loads((whole / "config.json").read_text()) == SETTINGS
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["seed"]) for r in records] == [(s, n) for s in (100, 200, 300, 400, 430) for n in SEEDS]
    assert all(set(r) == {"step", "seed", "w", "batch"} for r in records)
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["400", "430"]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [100, 300, 430])
def test_after_ctrl_c_at_an_evaluation_it_goes_on(whole: Path, tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "line", stop_at=stop_at)
    kept = (tmp_path / "line" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(kept[-1])["step"] == stop_at
    assert f"going on from step {stop_at:,}" in start(tmp_path / "line", resume=True)
    assert_same(tmp_path / "line", whole)


@pytest.mark.slow
@pytest.mark.parametrize("function", ["write_records", "save", "batches"])
def test_after_ctrl_c_anywhere_it_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Before the metrics are written, between metrics and checkpoint, and between dispatches."""
    owner: Any = {"write_records": folders.results, "save": Checkpoints, "batches": sys.modules[__name__]}[function]
    calls, original = [], getattr(owner, function)

    def fail(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "line")
    monkeypatch.undo()
    start(tmp_path / "line", resume=True)
    assert_same(tmp_path / "line", whole)


def refuse(*args: Any) -> Any:
    raise AssertionError("no work is to be done")


def test_resuming_a_finished_run_does_no_work(folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "compile_steps", lambda _: refuse)
    monkeypatch.setattr(Checkpoints, "save", refuse)
    start(folder, resume=True)
    assert_same(folder, whole)


def test_resuming_where_nothing_is_starts_anew(tmp_path: Path, whole: Path) -> None:
    assert "going on" not in start(tmp_path / "line", resume=True)
    assert_same(tmp_path / "line", whole)


@pytest.mark.parametrize(("name", "value"), [("steps", 500), ("rate", 0.2), ("seeds", [3])])
def test_other_settings_are_refused_by_name(folder: Path, whole: Path, name: str, value: Any) -> None:
    with pytest.raises(UserError) as raised:
        start(folder, resume=True, settings={**SETTINGS, name: value})
    assert str(raised.value) == (
        f"`--resume` needs the settings of the earlier run in {folder}, whose {name} was {SETTINGS[name]}, got "
        f"{value}; give the same flags, or another --out."
    )
    assert (folder / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    assert_same(folder, whole)


def test_without_resume_earlier_results_are_replaced(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(folder, settings={**SETTINGS, "rate": 0.2}, stop_at=100)
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [100, 100]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["100"]
    assert json.loads((folder / "config.json").read_text())["rate"] == 0.2


@pytest.mark.slow
@pytest.mark.parametrize("steps", [["430"], ["400", "430"]])
def test_damaged_checkpoints_cost_time_but_no_results(folder: Path, whole: Path, steps: list[str]) -> None:
    for step in steps:
        shutil.rmtree(folder / "checkpoints" / step / "default")
    said = start(folder, resume=True)
    assert all(f"The checkpoint of step {step} is damaged" in said for step in steps)
    assert ("going on from step 400" in said) == (steps == ["430"])
    assert_same(folder, whole)


@pytest.mark.parametrize("edit", [lambda _: [], lambda lines: lines[1:]], ids=["all", "one"])
def test_lost_metrics_are_one_line(folder: Path, edit: Callable[[list[str]], list[str]]) -> None:
    path = folder / "metrics.jsonl"
    lines = edit(path.read_text().splitlines(keepends=True))
    path.write_text("".join(lines))
    words = rf"^`--resume` needs all 10 lines of .* up to step 430, got {len(lines)}; leave out --resume to start"
    with pytest.raises(UserError, match=words):
        start(folder, resume=True)
