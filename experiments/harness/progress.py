"""How far a run is and how long it will take, live on a terminal and in a notebook."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.harness import notebook, stopping
from experiments.harness.processes import activity, watch


class JobConsole(Console):
    """The console of one of several jobs: its lines go to a file, its progress to bars shared by all.

    Args:
        like: the console whose width it has.
        file: takes the lines.
        bars: from `bars`.
        stop: when it is set, the job's next step ends it.
    """

    def __init__(self, like: Console, file: TextIO, bars: Progress, stop: threading.Event) -> None:
        plain: dict[str, Any] = {"highlight": False, "emoji": False, "markup": False}
        super().__init__(file=file, width=like.width, force_terminal=False, force_jupyter=False, **plain)
        self.bars = bars
        self.stop = stop


class Stopped(Exception):  # noqa: N818 - no error
    """Another job has failed, or the user has pressed Ctrl-C."""


def bars(console: Console, *, still: bool = False) -> Progress:
    """Bars of progress, shown while it is entered, on a terminal or in a notebook alone; `still` as in `progress`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # The time left comes from several steps, each of which may take minutes.
    period = 3600
    if notebook.is_running():
        return notebook.NotebookBars(*columns, speed_estimate_period=period)
    return Progress(
        *columns,
        console=console,
        auto_refresh=not still,
        speed_estimate_period=period,
        transient=True,
        disable=not console.is_terminal,
    )


@contextlib.contextmanager
def progress(
    console: Console, name: str, total: int, done: int = 0, *, still: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show how far a run is and how long it has to go, while the block runs.

    Args:
        console: from `make_console`, or that of a job; without a terminal or a notebook, nothing is shown.
        name: of the run.
        total: the steps to do in all.
        done: the steps done before.
        still: drawn at the steps alone, so that no thread of it disturbs what is timed between them.

    Yields:
        A function to be called with the step reached.
    """
    if isinstance(console, JobConsole):
        shared, stop = console.bars, console.stop
    else:
        shared, stop = bars(console, still=still), threading.Event()
    with contextlib.nullcontext() if isinstance(console, JobConsole) else shared:
        task = shared.add_task(name, total=total, completed=done)

        def on_progress(step: int) -> None:
            # After a signal, `stop` says no more than that.
            if watch.is_to_stop() or (stop.is_set() and not stopping.asked()):
                raise Stopped
            activity.reach(name, step)
            shared.update(task, completed=step, refresh=still)

        yield on_progress
        shared.remove_task(task)
