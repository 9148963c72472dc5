"""The console that all output of an experiment goes through."""

from __future__ import annotations

import functools

from rich.console import Console

# Wide and without wrapping, so that a line stays a line in a pipe or a log file.
_WIDTH_OF_A_LOG = 160


def make_console() -> Console:
    """A console for people on a terminal, and for plain lines anywhere else."""
    plain = functools.partial(Console, highlight=False, emoji=False, markup=False)
    console = plain()
    return console if console.is_terminal else plain(width=_WIDTH_OF_A_LOG, soft_wrap=True)
