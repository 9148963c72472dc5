"""Several runs at once on one console: their lines come out run by run, as if one followed the other."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console

from experiments.harness import progress
from experiments.harness.lanes import LANES

T = TypeVar("T")


def run_jobs(
    jobs: dict[str, Callable[[Console], T]], console: Console, *, one_by_one: bool = False
) -> Iterator[tuple[str, T]]:
    """Run the jobs, as many at once as there are lanes, and yield their names and results in the order given.

    Args:
        jobs: each gets a console of its own, on which its progress can be shown too. What it prints comes out when all
            jobs before it have ended.
        console: where it comes out.
        one_by_one: whether each begins when the one before it has ended, as programs of several devices must.

    Raises:
        BaseException: what the first job, in their order, that failed has raised. The others are then stopped at their
            next progress; the results of those that had ended are yielded before.
    """
    stop = threading.Event()
    lanes = 1 if one_by_one else LANES
    with progress.bars(console) as bars, ThreadPoolExecutor(lanes, thread_name_prefix="job") as pool:
        lines = [_Lines(console) for _ in jobs]
        futures: dict[str, Future[T]] = {}
        for (name, job), file in zip(jobs.items(), lines, strict=True):
            futures[name] = pool.submit(job, progress.JobConsole(console, file, bars, stop))
        failure: BaseException | None = None
        for (name, future), file in zip(futures.items(), lines, strict=True):
            try:
                if not failure or not (future.cancelled() or future.exception()):
                    file.release()
                    result = future.result()
                    yield name, result
            except GeneratorExit:
                stop.set()
                raise
            except BaseException as error:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                failure = failure or error
        if failure:
            raise failure


class _Lines(io.StringIO):
    """A file that keeps what is written until it is released, and from then on passes it to a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._released = False
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            if self._released:
                self._console.print(text, end="", soft_wrap=True)
                return len(text)
            return super().write(text)

    def release(self) -> None:
        with self._lock:
            self._released = True
            self._console.print(self.getvalue(), end="", soft_wrap=True)
