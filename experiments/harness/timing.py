"""How long it took and how long it will take: live progress on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Wide and without wrapping, so that a line stays a line in a pipe or a log file.
_WIDTH_OF_A_LOG = 160


def make_console() -> Console:
    """The console that all output of an experiment goes through."""
    plain = functools.partial(Console, highlight=False, emoji=False, markup=False)
    console = plain()
    return console if console.is_terminal else plain(width=_WIDTH_OF_A_LOG, soft_wrap=True)


class JobConsole(Console):
    """The console of one of several jobs: its lines go to a file, its progress to bars shared by all.

    Args:
        like: the console whose width it has.
        file: takes the lines.
        bars: from `bars`.
        stop: when it is set, the job's next step ends it.
    """

    def __init__(self, like: Console, file: TextIO, bars: Progress, stop: threading.Event) -> None:
        super().__init__(file=file, width=like.width, highlight=False, emoji=False, markup=False)
        self.bars = bars
        self.stop = stop


class Stopped(Exception):  # noqa: N818 - no error
    """Another job has failed, or the user has had enough."""


def bars(console: Console) -> Progress:
    """Bars of progress, shown while it is entered, on a terminal alone."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def progress(console: Console, name: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how far a run is and how long it has to go, while the block runs.

    Args:
        console: from `make_console`, or that of a job; where there is no terminal, nothing is shown.
        name: of the run.
        total: the steps to do in all.
        done: the steps done before.

    Yields:
        A function to be called with the step reached.
    """
    if isinstance(console, JobConsole):
        shared, stop = console.bars, console.stop
    else:
        shared, stop = bars(console), threading.Event()
    with contextlib.nullcontext() if isinstance(console, JobConsole) else shared:
        task = shared.add_task(name, total=total, completed=done)

        def on_progress(step: int) -> None:
            if stop.is_set():
                raise Stopped
            shared.update(task, completed=step)

        yield on_progress
        shared.remove_task(task)


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
