"""List all programs.

Takes a moment. For example, those that compare with other frameworks:
    python -m experiments bench
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import re
from pathlib import Path
from typing import NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from experiments.harness import program
from experiments.harness.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    part: tyro.conf.Positional[str] = ""
    """Which of them, such as bench or mnist; by default all."""


class Program(NamedTuple):
    """What its docstring says of a program: what it does, and how long it takes on 2 cores, where that is known."""

    does: str
    takes: str


def main(args: list[str] | None = None) -> int:
    """List them, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Print a line for each program."""
    found = find_programs()
    # As on the pages, and as the shell completes it.
    part = cfg.part.removeprefix("experiments.").rstrip(".")
    listed = {name: of for name, of in found.items() if f"{name}.".startswith(f"{part}." if part else "")}
    if not listed:
        similar = difflib.get_close_matches(cfg.part, found, n=1)
        raise UserError(
            f"no program is called {cfg.part}; there are {', '.join(dict.fromkeys(n.split('.')[0] for n in found))}"
            f"{f' (similar: {similar[0]})' if similar else ''}."
        )
    table = Table("program", "on 2 cores", "what it does", box=None, pad_edge=False)
    for name, of in listed.items():
        table.add_row(name, of.takes, of.does)
    console.print(table)
    console.print("\nThe flags of one of them: python -m experiments.NAME --help", soft_wrap=True)


def find_programs() -> dict[str, Program]:
    """All programs by name, from their sources: to import them all takes seconds, and what some of them need."""
    found, folder = {}, Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
        if name and '\nif __name__ == "__main__":\n' in source:
            about = ast.get_docstring(ast.parse(source)) or ""
            takes = re.search(r"^Takes (.*?)(?: on 2 cores|[.;])", about, re.MULTILINE)
            found[name] = Program(about.partition("\n")[0].removesuffix("."), takes[1] if takes else "")
    return found


if __name__ == "__main__":
    program.leave(main())
