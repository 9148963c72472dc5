"""Tables as Markdown, and for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from rich import table as rich_table
from rich.console import Console

_LONGEST_NAME = 40


class Table(NamedTuple):
    """A table.

    Attributes:
        title: one line, which no other table of the same file has.
        header: of the columns, the first to the left and the others to the right.
        rows: the cells.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The title, a blank line, the table."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join([self.title, "", *(f"| {' | '.join(line)} |" for line in lines)])

    def escaped(self) -> Table:
        """The same for Markdown, in which every sign stands for itself."""
        return Table(escaped(self.title), [*map(escaped, self.header)], [[*map(escaped, row)] for row in self.rows])

    def cells(self) -> dict[str, dict[str, str]]:
        """By row and column, for `summary.json`."""
        return {name: dict(zip(self.header[1:], cells, strict=True)) for name, *cells in self.rows}

    def show(self, notes: Iterable[str], console: Console) -> None:
        """The same for people, with notes under it."""
        shown = rich_table.Table()
        # Names stay whole; a sentence would leave nothing for the numbers.
        names = all(len(cells[0]) <= _LONGEST_NAME for cells in self.rows)
        for number, column in enumerate(self.header):
            shown.add_column(column, justify="right" if number else "left", no_wrap=names and not number)
        for cells in self.rows:
            shown.add_row(*cells)
        console.print()
        console.print(shown)
        for note in notes:
            console.print(note, soft_wrap=True)


def markdown(tables: Iterable[Table], notes: Iterable[str] = ()) -> str:
    """What a `summary.md` holds: the tables, then the notes, with blank lines between."""
    return "\n\n".join([*(table.markdown() for table in tables), *notes]) + "\n"


def escaped(text: str) -> str:
    r"""The text for Markdown, in which every sign stands for itself.

    Example:
        >>> print(escaped("2*rate*decay, |w|"))
        2\*rate\*decay, \|w\|
    """
    return re.sub(r"[\\`*<|\[]", r"\\\g<0>", text)


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """`0.9853`, or `0.9853 ± 0.0007` (sample standard deviation) of several values."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
