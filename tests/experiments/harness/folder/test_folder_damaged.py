"""Damage to the files of a run costs time, but no results; without a checkpoint nothing is touched."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.harness import config, earlier, occupied, run_files
from experiments.harness.checkpoint import Checkpoint, Checkpoints
from experiments.harness.errors import UserError
from tests.experiments.harness.folder.line import SETTINGS, assert_same, contents, start

# Orbax stops reading at the first damaged file, and its threads then find their event loop closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


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
    "two swapped": lambda lines: [lines[2], lines[1], lines[0], *lines[3:]],
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
