"""A run with a folder: interrupted anywhere and resumed, it ends as the unbroken one, bit for bit."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.harness import progress, run_files, training
from experiments.harness.checkpoint import Checkpoints
from tests.experiments.harness.folder import line
from tests.experiments.harness.folder.line import OTHER, SEEDS, SETTINGS, assert_same, contents, final_state, start


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
    owner: Any = {"write_records": run_files.results, "save": Checkpoints, "batches": line}[function]
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


class Stopping(progress.JobConsole):
    """As of a job that is asked to stop at a step."""

    def __init__(self, step: int) -> None:
        console = Console(file=io.StringIO(), width=160)
        super().__init__(console, io.StringIO(), progress.bars(console), threading.Event())
        self._step = step
        self.bars.update = self._update  # type: ignore[method-assign]

    def _update(self, *_: Any, completed: float | None = None, **__: Any) -> None:
        if completed is not None and completed + training.STEPS_PER_DISPATCH >= self._step:
            self.stop.set()


@pytest.fixture
def _short_dispatches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS_PER_DISPATCH", 10)


@pytest.mark.usefixtures("_short_dispatches")
@pytest.mark.parametrize("step", [20, 100, 250, 430])
def test_stopped_between_evaluations_it_goes_on_from_the_last_dispatch(whole: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(progress.Stopped):
        start(tmp_path / "line", console=Stopping(step))
    assert final_state(tmp_path / "line")[0] == step
    assert f"going on from step {step:,}" in start(tmp_path / "line", resume=True)
    assert_same(tmp_path / "line", whole)


@pytest.mark.usefixtures("_short_dispatches")
def test_stopped_before_its_first_evaluation_it_leaves_the_earlier_run(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(progress.Stopped):
        start(folder, settings=OTHER, console=Stopping(50))
    assert contents(folder) == before
