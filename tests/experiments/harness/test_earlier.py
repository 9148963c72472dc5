"""What lies in a folder is replaced, gone on with or left alone: as asked, and never unasked."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import earlier
from experiments.harness.errors import UserError

SETTINGS = {"steps": 300, "seeds": [0]}


def a_run(folder: Path, settings: Any, step: int) -> None:
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    a_run(tmp_path / "a", SETTINGS, 300)
    a_run(tmp_path / "b", SETTINGS, 200)
    (tmp_path / "c").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    return tmp_path


def require(out: Path, *names: str, settings: Any = SETTINGS, resume: bool = False, overwrite: bool = False) -> None:
    earlier.require_no_runs(out, dict.fromkeys(names, settings), resume=resume, overwrite=overwrite)


def test_earlier_runs_are_named_with_what_can_be_done(out: Path) -> None:
    with pytest.raises(UserError) as raised:
        require(out, "a", "b", "empty", "new")
    assert str(raised.value) == (
        f"`--out` must be a folder without these runs, but {out} has a (finished, 300 steps), b (stopped at step 200 "
        "of 300); add --resume to go on with them, or --overwrite to replace them, or name another one."
    )


def test_what_is_asked_for_is_admitted(out: Path) -> None:
    require(out, "empty", "new")
    require(out, "a", "b", resume=True)
    require(out, "a", "b", "c", overwrite=True)
    require(out, "a", "b", settings={**SETTINGS, "steps": 5}, resume=True, overwrite=True)


@pytest.mark.parametrize(("name", "value"), [("steps", 500), ("rate", 0.2), ("seeds", [3])])
def test_other_settings_are_refused_by_name(out: Path, name: str, value: Any) -> None:
    was = SETTINGS.get(name, "nothing")
    with pytest.raises(UserError) as raised:
        require(out, "new", "a", settings={**SETTINGS, name: value}, resume=True)
    assert str(raised.value) == (
        f"`--resume` needs the settings of the earlier run in {out / 'a'}, whose {name} was {was}, got {value}; give "
        "the same flags, or --overwrite to replace it, or another --out."
    )


@pytest.mark.parametrize("value", [3, None])
def test_a_setting_that_only_the_earlier_run_has_is_refused_too(out: Path, value: Any) -> None:
    """It can't be gone on with, and would give way to a new run."""
    (out / "a" / "config.json").write_text(json.dumps({**SETTINGS, "depth": value}))
    assert not earlier.can_go_on(out / "a", SETTINGS)
    with pytest.raises(UserError, match=f"whose depth was {value}, got nothing; give the same flags, or --overwrite"):
        require(out, "a", resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_files_that_are_no_run_are_not_gone_on_with(out: Path, resume: bool) -> None:
    with pytest.raises(UserError) as raised:
        require(out, "a", "c", resume=resume)
    assert str(raised.value) == (
        f"`--out` must have room for the runs, but {out} has files that are no run in c; add --overwrite to replace "
        "them, or name another one."
    )


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_file_in_the_place_of_a_run_is_named(tmp_path: Path, flags: Any) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match=r"^`--out` must have room for a run, but .*a is a file; name another one\.$"):
        require(tmp_path, "a", **flags)


@pytest.mark.parametrize("killed_after", [None, 1, 2])
def test_a_link_to_a_folder_leads_to_the_new_run(tmp_path: Path, killed_after: int | None) -> None:
    disk, link = tmp_path / "disk" / "runs", tmp_path / "a"
    a_run(disk, SETTINGS, 300)
    link.symlink_to(disk)
    for steps in (1, 2):
        a_run(earlier.staged(link), {"steps": steps}, steps)
        if killed_after:
            disk.rename(tmp_path / "disk" / ".runs.old")
            if killed_after == 2:
                earlier.staged(link).rename(disk)
            earlier.finish_replacement(link)
        else:
            earlier.replace(link)
        assert link.is_symlink()
        assert json.loads((link / "config.json").read_text()) == {"steps": steps}
        assert [path.name for path in disk.parent.iterdir()] == ["runs"]


def test_a_summary_is_replaced_only_when_asked(tmp_path: Path) -> None:
    earlier.require_no_summary(tmp_path, overwrite=False)
    (tmp_path / "summary.json").write_text("{}")
    earlier.require_no_summary(tmp_path, overwrite=True)
    with pytest.raises(UserError, match=r"^`--out` must be a folder without results, but .* add --overwrite to repl"):
        earlier.require_no_summary(tmp_path, overwrite=False)


def test_a_summary_beside_no_run_of_ours_is_anothers(out: Path) -> None:
    earlier.require_no_foreign_summary(out, ["new"], overwrite=False)
    (out / "summary.json").write_text("{}")
    earlier.require_no_foreign_summary(out, ["new", "a"], overwrite=False)
    earlier.require_no_foreign_summary(out, ["new"], overwrite=True)
    with pytest.raises(UserError, match=r"^`--out` must be a folder without results"):
        earlier.require_no_foreign_summary(out, ["new"], overwrite=False)


def test_only_the_same_settings_can_be_gone_on_with(out: Path) -> None:
    assert earlier.can_go_on(out / "a", SETTINGS)
    assert not earlier.can_go_on(out / "new", SETTINGS)
    (out / "a" / "config.json").write_text(json.dumps({**SETTINGS, "steps": 5}))
    assert not earlier.can_go_on(out / "a", SETTINGS)


@pytest.mark.parametrize("changed", ["[]", "no JSON", None])
def test_settings_that_cannot_be_read_are_left_to_the_seals_of_the_checkpoints(out: Path, changed: str | None) -> None:
    path = out / "a" / "config.json"
    path.unlink() if changed is None else path.write_text(changed)
    require(out, "a", resume=True)
    assert earlier.can_go_on(out / "a", SETTINGS)
    with pytest.raises(UserError, match=r"has a \(300 steps\); add --resume to go on"):
        require(out, "a")


def test_a_mark_is_for_its_settings_alone(out: Path) -> None:
    """Or what was made since with others would give way to it."""
    earlier.mark_replaced(out, {"a": {**SETTINGS, "steps": 9_000}}, resume=False, overwrite=True)
    earlier.mark_replaced(out, {"a": SETTINGS}, resume=True, overwrite=True)
    assert earlier.can_go_on(out / "a", SETTINGS)
    earlier.mark_replaced(out, {"a": SETTINGS}, resume=False, overwrite=True)
    assert not earlier.can_go_on(out / "a", SETTINGS)
