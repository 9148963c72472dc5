"""All studies: `python -m experiments.studies` lists them, `--all` runs them one after another.

A study that is finished is left as it is, so that `--all` goes on where it was stopped. Writes a folder for each study,
`REPORT.md`, and `report.html`, one file with all tables and figures.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import studies
from experiments.harness import compilation, config, program, study, study_report
from experiments.harness.errors import UserError
from experiments.harness.tables import Table


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    all: bool = False
    """Run all studies, instead of listing them."""
    only: tuple[str, ...] = ()
    """Run these alone."""
    out: Path = Path("results/studies")
    """The folder for all results."""
    overwrite: bool = False
    """Run finished studies again."""
    data_dir: Path | None = None
    """A folder with the four official MNIST files, or a TFDS data directory; None to find or fetch the data."""


def main(args: list[str] | None = None) -> int:
    """List or run the studies, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """List the studies, or run those that are asked for and report on all that are finished."""
    modules = find_studies()
    if unknown := [name for name in cfg.only if name not in modules]:
        raise UserError(f"`--only` must name studies, {', '.join(modules)}, got {', '.join(unknown)}.")
    if not (cfg.all or cfg.only):
        list_all(modules, console)
        return
    config.require_writable("--out", cfg.out)
    for name in cfg.only or modules:
        run_one(name, modules[name], cfg, console)
        failed = study_report.write(cfg.out, [*modules])
    console.print(
        f"\nReport: {cfg.out / 'report.html'}, {cfg.out / 'REPORT.md'}; "
        + (f"{failed} predictions failed." if failed else "all predictions hold."),
        soft_wrap=True,
    )


def find_studies() -> dict[str, Any]:
    """The modules of all studies by name: each has `STUDY`, `Config` and `work`."""
    found = {}
    for info in pkgutil.iter_modules(studies.__path__):
        if info.name != "__main__":
            module = f"{studies.__name__}.{info.name}"
            found[info.name] = importlib.import_module(f"{module}.__main__" if info.ispkg else module)
    return found


def list_all(modules: dict[str, Any], console: Console) -> None:
    """Print what there is to run."""
    rows = [[name, module.STUDY.claim, f"{module.STUDY.minutes:g}"] for name, module in modules.items()]
    table = Table("Studies", ["python -m experiments.studies.…", "claim", "minutes"], rows)
    total = sum(module.STUDY.minutes for module in modules.values())
    table.show([f"All together: --all, {total:.0f} minutes on 2 cores."], console)


def run_one(name: str, module: Any, cfg: Config, console: Console) -> None:
    """Run a study, unless it is finished."""
    fields = {field.name for field in dataclasses.fields(module.Config)}
    flags = {"out": cfg.out / name, "overwrite": cfg.overwrite, "data_dir": cfg.data_dir}
    own = module.Config(**{flag: value for flag, value in flags.items() if flag in fields})
    found = study.read(own.out)
    if found and found["settings"] == study.settings(own) and not cfg.overwrite:
        console.print(f"{name}: finished before")
        return
    console.print(f"\n{name}: {module.STUDY.minutes:g} minutes")
    module.work(own, console)


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
