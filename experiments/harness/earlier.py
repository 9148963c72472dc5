"""What an earlier run has left in a folder, and what may become of it: gone on with, replaced, or left alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.harness import files
from experiments.harness.errors import UserError

Settings = Mapping[str, Any]


def require_no_summary(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with the summary of an earlier run, unless it may be replaced."""
    if not overwrite and (out / "summary.json").exists():
        raise UserError(
            f"`--out` must be a folder without results, but {out} has those of an earlier run; add --overwrite to "
            "replace them, or name another one."
        )


def require_no_foreign_summary(out: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """The same for a program that adds to a summary of its own, which lies beside one of the runs of these names."""
    if not any((out / name).exists() for name in names):
        require_no_summary(out, overwrite=overwrite)


def require_no_runs(out: Path, runs: Mapping[str, Settings], *, resume: bool, overwrite: bool) -> None:
    """Refuse runs, given by the names of their folders in `out`, of which there are earlier ones.

    Args:
        out: the folder of all runs.
        runs: their settings.
        resume: admit earlier runs with the same settings.
        overwrite: admit all.
    """
    found, others = [], []
    for name, settings in runs.items():
        folder = out / name
        finish_replacement(folder)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"`--out` must have room for a run, but {folder} is a file; name another one.")
        if overwrite or not folder.exists() or not any(folder.iterdir()):
            continue
        if not is_run(folder):
            others.append(name)
        elif resume:
            _require_same(folder, settings)
        else:
            found.append(f"{name} ({_describe(folder)})")
    if others:
        raise UserError(
            f"`--out` must have room for the runs, but {out} has files that are no run in {', '.join(others)}; add "
            "--overwrite to replace them, or name another one."
        )
    if found:
        raise UserError(
            f"`--out` must be a folder without these runs, but {out} has {', '.join(found)}; add --resume to go on "
            "with them, or --overwrite to replace them, or name another one."
        )


def mark_replaced(out: Path, runs: Mapping[str, Settings], *, resume: bool, overwrite: bool) -> None:
    """Note which runs are to give way: if the program is stopped before they have, it must not go on with them.

    The mark is the `config.json` of the staged run, written before any work. Whoever goes on with `--overwrite
    --resume` finds it; who goes on with `--resume` alone wants the earlier run.
    """
    for name, settings in runs.items():
        staged_run = staged(out / name)
        with files.writing(staged_run):
            if not (overwrite and resume) and staged_run.exists():
                shutil.rmtree(staged_run)
        if overwrite and not resume and (out / name).exists():
            files.write_json(staged_run / "config.json", settings)


def can_go_on(folder: Path, settings: Settings) -> bool:
    """Whether a folder has a run with these settings, which is not to be replaced."""
    if settings_of(staged(folder)) == settings:
        return False
    # Without readable settings, the seals of the checkpoints tell.
    return is_run(folder) and (settings_of(folder) or settings) == settings


def is_run(folder: Path) -> bool:
    """Whether a folder has something of a run."""
    return any((folder / own).exists() for own in ("config.json", "checkpoints"))


def settings_of(folder: Path) -> Settings | None:
    """Those of the run in a folder, if they can be read."""
    try:
        return files.read_json(folder / "config.json")
    except UserError:
        return None


def staged(folder: Path) -> Path:
    """Where a new run lies until it is worth more than the earlier one in the folder."""
    return _beside(folder, "new")


def replace(folder: Path) -> None:
    """Put the staged run in the folder's place."""
    with files.writing(folder):
        if folder.exists():
            folder.resolve().rename(_outdated(folder))
        staged(folder).rename(folder.resolve())
        shutil.rmtree(_outdated(folder), ignore_errors=True)


def finish_replacement(folder: Path) -> None:
    """Do what `replace` has left to do where it was killed."""
    with files.writing(folder):
        if not _outdated(folder).exists():
            return
        if not folder.exists():
            (staged(folder) if staged(folder).exists() else _outdated(folder)).rename(folder.resolve())
        shutil.rmtree(_outdated(folder), ignore_errors=True)


def _outdated(folder: Path) -> Path:
    return _beside(folder, "old")


def _beside(folder: Path, kind: str) -> Path:
    # Where a link to a folder leads, as to another disk, so that it leads there still.
    real = folder.resolve()
    return real.with_name(f".{real.name}.{kind}")


def _describe(folder: Path) -> str:
    steps = (settings_of(folder) or {}).get("steps")
    done = max((int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdecimal()), default=0)
    if not isinstance(steps, int):
        return f"{done:,} steps"
    return f"finished, {done:,} steps" if done == steps else f"stopped at step {done:,} of {steps:,}"


def _require_same(folder: Path, settings: Settings) -> None:
    earlier = settings_of(folder)
    if earlier is None:  # Then the seals of its checkpoints tell.
        return
    # Also what only the earlier one has, or it would be found different later, and give way to a new run.
    for name in {**settings, **earlier}:
        was, wanted = (of.get(name, "nothing") for of in (earlier, settings))
        if was != wanted:
            raise UserError(
                f"`--resume` needs the settings of the earlier run in {folder}, whose {name} was {was}, got {wanted}; "
                f"give the same flags, or --overwrite to replace it, or another --out."
            )
