"""Put tables and figures that programs wrote into the README and the docs.

Takes a moment. For example, in the folder with README.md, docs/ and results/:
    python -m experiments.docs

A table stands between `<!-- table: results/ops/summary.md: forward -->`, a file and the title of a table in it, and
`<!-- end -->`. What is between them is replaced by that table, or by a few rows of it, whose first cells follow the
title: `forward | 64x100 | 32x56x56x64`.

A figure, `![What it shows](ops.png)`, has `<!-- figure: results/ops/ops.png -->` in the line above: that file is copied
to where the picture lies. What has no file in `results/` stays as it is.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

from rich.console import Console

from experiments.harness import files, program
from experiments.harness.errors import UserError

BLOCK = re.compile(r"(<!-- table: (?P<file>\S+?): (?P<title>.+?) -->\n)(?P<table>.*?)(<!-- end -->)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: (?P<file>\S+) -->\n!\[[^\]]*\]\((?P<picture>\S+)\)")
TABLE = re.compile(r"^(?P<title>\S.*)\n\n(?P<table>(?:\|.*\n)+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    root: Path = Path()
    """The folder with README.md, docs/ and results/."""


def tables(summary: str) -> dict[str, str]:
    """The tables of a `summary.md` by their titles, the line before each."""
    return {found["title"]: found["table"] for found in TABLE.finditer(summary.rstrip("\n") + "\n")}


def rows_of(table: str, rows: list[str]) -> str:
    """The head of a table and the rows with these first cells; all of it without any."""
    lines = table.splitlines(keepends=True)
    by_name = {line.split("|")[1].strip(): line for line in lines[2:]}
    return "".join([*lines[:2], *(by_name[row] for row in rows)]) if rows else table


def within(file: Path, root: Path) -> bool:
    """Whether a marker stays in the project: what it names is read, or written over."""
    return file.resolve().is_relative_to(root.resolve())


def renewed(text: str, root: Path) -> tuple[str, list[str]]:
    """The text with its tables as the files under `root` have them, and what could not be renewed, in words."""
    missing = []

    def table(block: re.Match[str]) -> str:
        file = root / block["file"]
        title, *rows = block["title"].split(" | ")
        if not within(file, root):
            missing.append(f"{block['file']} lies outside {root}")
        elif not file.is_file():
            missing.append(f"{block['file']} is not there")
        elif title not in (found := tables(file.read_text(encoding="utf-8"))):
            missing.append(f"{block['file']} has no table {title!r}, but {', '.join(map(repr, found))}")
        else:
            try:
                return block[1] + rows_of(found[title], rows) + block[5]
            except KeyError as error:
                missing.append(f"the table {title!r} of {block['file']} has no row {error}")
        return block[0]

    return BLOCK.sub(table, text), missing


def copied(page: Path, root: Path) -> tuple[list[Path], list[str]]:
    """Copy the figures of a page; the pictures that are new, and what could not be copied, in words."""
    new, missing = [], []
    for figure in FIGURE.finditer(page.read_text(encoding="utf-8")):
        file, picture = root / figure["file"], page.parent / figure["picture"]
        if not (within(file, root) and within(picture, root)):
            missing.append(f"{figure['file']} or {figure['picture']} lies outside {root}")
        elif not file.is_file():
            missing.append(f"{figure['file']} is not there")
        elif not picture.is_file() or picture.read_bytes() != file.read_bytes():
            with files.whole_file(picture) as partial:
                partial.write_bytes(file.read_bytes())
            new.append(picture)
    return new, missing


def main(args: list[str] | None = None) -> int:
    """Renew all tables and figures, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Renew what can be renewed, and name the rest."""
    pages = [cfg.root / "README.md", *sorted((cfg.root / "docs").glob("*.md"))]
    if not pages[0].is_file():
        raise UserError(f"`--root` must be the folder of README.md, got {cfg.root}.")
    left = 0
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new, missing = renewed(old, cfg.root)
        pictures, absent = copied(page, cfg.root)
        if new != old:
            files.write_text(page, new)
        for changed in [*([page] if new != old else []), *pictures]:
            console.print(f"{changed}: renewed", soft_wrap=True)
        for reason in (*missing, *absent):
            print(f"{page}: {reason}; left as it is", file=sys.stderr)
        left += len([*missing, *absent])
    if left:
        raise UserError(f"{left} tables or figures could not be renewed; first run the programs that write them.")


if __name__ == "__main__":
    program.leave(main())
