"""How long it took and how long it will take: live progress on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Wide and without wrapping, so that a line stays a line in a pipe or a log file.
_WIDTH_OF_A_LOG = 160


def make_console() -> Console:
    """The console that all output of an experiment goes through."""
    console = Console(highlight=False, emoji=False, markup=False)
    return (
        console if console.is_terminal else Console(width=_WIDTH_OF_A_LOG, highlight=False, emoji=False, markup=False)
    )


@contextlib.contextmanager
def progress(console: Console, name: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how far a run is and how long it has to go, while the block runs.

    Args:
        console: from `make_console`; where it is no terminal, nothing is shown.
        name: of the run.
        total: the steps to do in all.
        done: the steps done before.

    Yields:
        A function to be called with the step reached.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(name, total=total, completed=done)
        yield lambda step: bar.update(task, completed=step)


class Stopwatch:
    """Seconds since it was made, on top of those spent before."""

    def __init__(self, spent: float = 0.0) -> None:
        self._start = time.perf_counter() - spent

    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start


def leave(status: int) -> NoReturn:
    """End the program, after Ctrl-C at once.

    Threads of XLA and of the readers may then be at work still, and an orderly end of the interpreter would pull the
    ground from under them: a segmentation fault. All files are closed by then.
    """
    if status == 130:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
