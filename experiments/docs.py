"""Paste the tables that programs wrote into the README and the docs: `python -m experiments.docs`.

A block begins with `<!-- table: results/ops/summary.md: forward -->`, a file and the title of a table in it, and ends
with `<!-- end -->`. What is between them is replaced by that table. A block whose file is not there stays as it is.
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


def renewed(text: str, root: Path) -> tuple[str, list[str]]:
    """The text with its tables as the files under `root` have them, and what could not be renewed, in words."""
    missing = []

    def table(block: re.Match[str]) -> str:
        file = root / block["file"]
        if not file.is_file():
            missing.append(f"{block['file']} is not there")
        elif block["title"] not in (found := tables(file.read_text(encoding="utf-8"))):
            missing.append(f"{block['file']} has no table {block['title']!r}, but {', '.join(map(repr, found))}")
        else:
            return block[1] + found[block["title"]] + block[5]
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
