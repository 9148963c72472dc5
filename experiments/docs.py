"""Paste the tables that programs wrote into the README and the docs: `python -m experiments.docs`.

A block begins with `<!-- table: results/ops/summary.md: forward -->`, a file and the title of a table in it, and ends
with `<!-- end -->`. What is between them is replaced by that table, or by a few rows of it, whose first cells follow
the title: `forward | 64x100 | 32x56x56x64`. A block whose file is not there stays as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tyro

BLOCK = re.compile(r"(<!-- table: (?P<file>\S+?): (?P<title>.+?) -->\n)(?P<table>.*?)(<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"^(?P<title>\S.*)\n\n(?P<table>(?:\|.*\n)+)", re.MULTILINE)


def tables(summary: str) -> dict[str, str]:
    """The tables of a `summary.md` by their titles, the line before each."""
    return {found["title"]: found["table"] for found in TABLE.finditer(summary.rstrip("\n") + "\n")}


def rows_of(table: str, rows: list[str]) -> str:
    """The head of a table and the rows with these first cells; all of it without any."""
    lines = table.splitlines(keepends=True)
    by_name = {line.split("|")[1].strip(): line for line in lines[2:]}
    return "".join([*lines[:2], *(by_name[row] for row in rows)]) if rows else table


def renewed(text: str, root: Path) -> tuple[str, list[str]]:
    """The text with its tables as the files under `root` have them, and what could not be renewed, in words."""
    missing = []

    def table(block: re.Match[str]) -> str:
        file = root / block["file"]
        title, *rows = block["title"].split(" | ")
        if not file.is_file():
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


def main(root: Path = Path()) -> int:
    """Renew all tables.

    Args:
        root: the folder with README.md, docs/ and results/.
    """
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    if not pages[0].is_file():
        print(f"`--root` must be the folder of README.md, got {root}.", file=sys.stderr)
        return 2
    wrong = 0
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new, missing = renewed(old, root)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"{page}: renewed")
        for reason in missing:
            print(f"{page}: {reason}; left as it is", file=sys.stderr)
        wrong += len(missing)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
