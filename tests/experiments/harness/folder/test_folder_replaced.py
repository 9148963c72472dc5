"""An earlier run in the folder gives way to a new one at once, or stays as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import earlier, run_files
from experiments.harness.checkpoint import Checkpoints
from tests.experiments.harness.folder.line import OTHER, SETTINGS, contents, start


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
