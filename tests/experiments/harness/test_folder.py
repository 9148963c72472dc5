"""A run with a folder: interrupted anywhere and resumed, it ends as the unbroken one, bit for bit."""

import io
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.harness import config, earlier, occupied, progress, run_files, training
from experiments.harness import folder as folders
from experiments.harness.checkpoint import Checkpoint, Checkpoints
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
        DATA,
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
    owner: Any = {"write_records": run_files.results, "save": Checkpoints, "batches": sys.modules[__name__]}[function]
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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OTHER = {**SETTINGS, "rate": 0.2}


def test_an_earlier_run_gives_way_to_the_first_evaluation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)
    seen = []

    def look(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def looking(*args: Any) -> Any:
            seen.append(contents(folder) == before)
            return original(*args)

        monkeypatch.setattr(owner, name, looking)

    look(run_files.results, "write_records")
    look(Checkpoints, "save")
    with pytest.raises(KeyboardInterrupt):
        start(folder, settings=OTHER, stop_at=100)
    assert seen == [True, True]
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [100, 100]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["100"]
    assert json.loads((folder / "config.json").read_text())["rate"] == 0.2
    assert [path.name for path in folder.parent.iterdir()] == ["line"]


@pytest.mark.parametrize("calls", [1, 2])
def test_killed_while_it_gives_way_it_is_either_run(folder: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    before = contents(folder)
    rename, left = Path.rename, [calls]

    def killed(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(earlier.Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        start(folder, settings=OTHER, stop_at=100)
    monkeypatch.undo()
    earlier.finish_replacement(folder)
    if calls == 1:
        assert contents(folder) == before
    else:
        assert json.loads((folder / "config.json").read_text()) == OTHER
        assert [path.name for path in folder.parent.iterdir()] == ["line"]


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


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_time_but_no_results(folder: Path, whole: Path) -> None:
    shutil.rmtree(folder / "checkpoints" / "430" / "tree")
    said = start(folder, resume=True)
    assert "The checkpoint of step 430 is damaged" in said
    assert "going on from step 400" in said
    assert_same(folder, whole)


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(folder: Path) -> None:
    for step in ("400", "430"):
        shutil.rmtree(folder / "checkpoints" / step / "tree")
    before = contents(folder)
    with pytest.raises(UserError, match=r"checkpoint that can be read, .* \(step 430: .*, step 400: .*\); bring back"):
        start(folder, resume=True)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["line"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_run_that_was_to_be_replaced_is_gone_on_with_only_where_that_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    runs = dict.fromkeys(["line", "other"], SETTINGS)
    earlier.mark_replaced(folder.parent, runs, resume=False, overwrite=True)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".line.new", "line"]
    earlier.mark_replaced(folder.parent, runs, resume=True, overwrite=overwrite)
    steps = []
    monkeypatch.setattr(Checkpoints, "save", lambda _, checkpoint: steps.append(checkpoint.measured.step))
    monkeypatch.setattr(earlier, "replace", lambda _: None)
    start(folder, resume=True)
    assert steps == ([100, 200, 300, 400, 430] if overwrite else [])


def test_a_mark_for_other_settings_is_removed(folder: Path) -> None:
    earlier.mark_replaced(folder.parent, {"line": OTHER}, resume=False, overwrite=True)
    assert (folder.parent / ".line.new").exists()
    start(folder, resume=True)
    assert [path.name for path in folder.parent.iterdir()] == ["line"]


@pytest.mark.parametrize("left", ["no JSON", None])
def test_settings_that_cannot_be_read_are_made_anew(folder: Path, whole: Path, left: str | None) -> None:
    path = folder / "config.json"
    path.unlink() if left is None else path.write_text(left)
    with pytest.raises(UserError, match=r"has no config\.json that can be read; --resume with its settings makes"):
        run_files.read_measured(folder)
    with pytest.raises(UserError, match=r"damaged \(step 430: it is not what was saved under this step and these"):
        start(folder, resume=True, settings={**SETTINGS, "rate": 0.3})
    start(folder, resume=True)
    assert_same(folder, whole)
    assert json.loads(path.read_text()) == SETTINGS


@pytest.mark.parametrize("lost", ["checkpoints", "checkpoints/400 checkpoints/430"])
def test_a_run_without_checkpoints_is_left_as_it_is(folder: Path, lost: str) -> None:
    for part in lost.split():
        shutil.rmtree(folder / part)
    before = contents(folder)
    with pytest.raises(UserError, match=r"^`--resume` needs a checkpoint, but .*line has none; bring back a copy, or "):
        start(folder, resume=True)
    assert contents(folder) == before


def test_a_folder_that_was_deleted_is_made_anew(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    config.require_writable("--out", out)
    write, calls = Checkpoints.save, []

    def save_and_delete(self: Checkpoints, checkpoint: Checkpoint) -> None:
        write(self, checkpoint)
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree(out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_delete)
        start(out / "line")
    assert (out / ".running").exists()
    assert_same(out / "line", whole)
    occupied.leave_all()


def test_what_a_killed_process_has_left_is_removed(folder: Path, whole: Path) -> None:
    (folder / ".metrics.0123.partial.jsonl").write_text("half")
    (folder.parent / ".line.new").mkdir()
    earlier.mark_replaced(folder.parent, {"line": SETTINGS}, resume=True, overwrite=False)
    start(folder, resume=True)
    assert [path.name for path in folder.parent.iterdir()] == ["line"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())


EDITS: dict[str, Callable[[list[str]], list[str]]] = {
    "all lost": lambda _: [],
    "one lost": lambda lines: lines[1:],
    "two swapped": lambda lines: [lines[2], *lines[1:2], lines[0], *lines[3:]],
    "one doubled": lambda lines: [lines[0], *lines],
    "another digit": lambda lines: [lines[0].replace('"w": ', '"w": 1'), *lines[1:]],
    "another step": lambda lines: [lines[0].replace("100", "200"), *lines[1:]],
    "another key": lambda lines: [lines[0].replace("batch", "match"), *lines[1:]],
    "no number": lambda lines: [re.sub('"w": [^,]*', '"w": NaN', lines[0]), *lines[1:]],
    "no JSON": lambda lines: ["{", *lines],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_altered_metrics_are_mended_from_the_checkpoint(
    folder: Path, whole: Path, edit: Callable[[list[str]], list[str]]
) -> None:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert edit(lines) != lines
    path.write_text("".join(edit(lines)))
    start(folder, resume=True)
    assert_same(folder, whole)
