"""List all studies, or run them one after another.

Takes 28 minutes on 2 cores for all; docs/studies.md has the results. So:
    python -m experiments.studies --only rank ema_noise

What is finished is left as it is, so that the same command goes on where it was stopped. Writes a folder for each
study, `REPORT.md`, and `report.html`, one file with all predictions and figures.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from experiments import studies
from experiments.harness import compilation, config, files, program, study, study_report
from experiments.harness.errors import UserError

# In the folder of a study whose earlier results are to give way. As a file, so that it outlives a stop.
AGAIN = ".again"


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    all: bool = False
    """Run all studies but those that take longest, instead of listing them."""
    only: tuple[str, ...] = ()
    """Run these alone."""
    out: Path = Path("results/studies")
    """The folder for all results."""
    overwrite: bool = False
    """Run finished studies again, and replace their results as soon as there are new ones."""
    data_dir: Path | None = None
    """A folder with MNIST's four files, or a TFDS data directory; without it the data is found or fetched."""


def main(args: list[str] | None = None) -> int:
    """List or run the studies, and return the exit status."""
    return program.run(Config, args, work, goes_on=True)


def work(cfg: Config, console: Console) -> None:
    """List the studies, or run those that are asked for and report on all that are finished."""
    modules = find_studies()
    if unknown := [name for name in cfg.only if name not in modules]:
        raise UserError(f"`--only` must name studies, {', '.join(modules)}, got {', '.join(unknown)}.")
    if not (cfg.all or cfg.only):
        list_all(modules, console)
        return
    config.require_writable("--out", cfg.out)
    names = [*dict.fromkeys(cfg.only or (name for name in modules if name not in apart(modules)))]
    if cfg.overwrite:
        mark(names, cfg)
    run_all(names, modules, cfg, console)
    found = study_report.write(cfg.out, modules, apart=apart(modules))
    console.print(f"\nReport: {cfg.out / 'report.html'}, {cfg.out / 'REPORT.md'}", soft_wrap=True)
    console.print(study_report.headline(found), soft_wrap=True)


def find_studies() -> dict[str, Any]:
    """The modules of all studies by name: each has `STUDY`, `Config` and `work`."""
    found = {}
    for info in pkgutil.iter_modules(studies.__path__):
        if info.name != "__main__":
            module = f"{studies.__name__}.{info.name}"
            found[info.name] = importlib.import_module(f"{module}.__main__" if info.ispkg else module)
    return found


def apart(modules: dict[str, Any]) -> list[str]:
    """Those that are run by their names alone."""
    return [name for name, module in modules.items() if module.STUDY.apart]


def list_all(modules: dict[str, Any], console: Console) -> None:
    """Print what there is to run: a table on a terminal, else a line for each."""
    rows = [(name, f"{of.STUDY.minutes:g}", of.STUDY.claim) for name, of in modules.items()]
    if console.is_terminal:
        table = Table("study", Column("minutes", justify="right"), "claim")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for name, minutes, claim in rows:
            console.print(f"{name:20} {minutes:>5} min  {claim}")
    total = lasting(sum(module.STUDY.minutes for module in modules.values() if not module.STUDY.apart))
    but = f" but {', '.join(left_out)}" if (left_out := apart(modules)) else ""
    console.print("One of them, with flags of its own: python -m experiments.studies.NAME", soft_wrap=True)
    console.print(f"All of them{but}, {total}: python -m experiments.studies --all", soft_wrap=True)


def mark(names: list[str], cfg: Config) -> None:
    """Note which results are to give way: whoever goes on after a stop does not say so again."""
    for name in names:
        if (cfg.out / name / "summary.json").exists():
            files.write_text(cfg.out / name / AGAIN, "")


def run_all(names: list[str], modules: dict[str, Any], cfg: Config, console: Console) -> None:
    """Run those of the studies that are not finished, with a new report after each."""
    left = [name for name in names if not is_finished(modules[name], settings_of(modules[name], cfg))]
    require_no_others(left, modules, cfg)
    if done := [name for name in names if name not in left]:
        console.print(f"Finished before: {', '.join(done)}", soft_wrap=True)
    for number, name in enumerate(left, 1):
        minutes = sum(modules[other].STUDY.minutes for other in left[number - 1 :])
        console.print(f"\n{name}, {number} of {len(left)}; {lasting(minutes)} to go", soft_wrap=True)
        begun, own = time.monotonic(), settings_of(modules[name], cfg)
        try:
            modules[name].work(own, console)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        (own.out / AGAIN).unlink(missing_ok=True)
        study_report.write(cfg.out, modules, apart=apart(modules))
        console.print(f"Took {lasting((time.monotonic() - begun) / 60)}")


def require_no_others(left: list[str], modules: dict[str, Any], cfg: Config) -> None:
    """Refuse to run for an hour up to a study whose folder has results of another kind."""
    found = [name for name in left if (cfg.out / name / "summary.json").exists()]
    if others := [name for name in found if not settings_of(modules[name], cfg).overwrite]:
        raise UserError(
            f"`--out` must be without results of other settings, but {cfg.out} has such of {', '.join(others)}; add "
            f"--only {' '.join(others)} --overwrite to replace them, or name another folder."
        )


def lasting(minutes: float) -> str:
    """A time in words."""
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"


def settings_of(module: Any, cfg: Config) -> Any:
    """A study's own settings, with what the command line says of all."""
    fields = {field.name for field in dataclasses.fields(module.Config)}
    out = cfg.out / module.STUDY.name
    flags = {"out": out, "overwrite": (out / AGAIN).exists(), "data_dir": cfg.data_dir}
    return module.Config(**{flag: value for flag, value in flags.items() if flag in fields})


def is_finished(module: Any, own: Any) -> bool:
    """Whether a study has results with these settings, which are not to be replaced."""
    found = study.read(own.out, module.STUDY.name)
    return found is not None and found["settings"] == study.settings(own) and not own.overwrite


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
