"""What a speed run took and reached: lines, a table, and files."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from experiments.harness import paired, results
from experiments.harness.tables import Table, markdown, mean_and_spread

T = TypeVar("T")
TITLE = "99 % from a cold start"


class Clock:
    """Seconds since the process began, and those of the parts before the first seed.

    Attributes:
        parts: what took how long; data and compile run side by side.
        before: all until the first seed could begin.
    """

    def __init__(self) -> None:
        self.parts = {"import": seconds_of_process()}
        self.before = self.parts["import"]

    def timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        """The function, whose seconds become the part of that name."""

        def call(*args: Any, **kwargs: Any) -> T:
            start = time.perf_counter()
            value = function(*args, **kwargs)
            self.parts[name] = time.perf_counter() - start
            return value

        return call

    def ready(self) -> None:
        """All is prepared."""
        self.before = seconds_of_process()


@dataclasses.dataclass(frozen=True)
class SeedRun:
    """One seed: accuracy, and seconds of training and of evaluation."""

    seed: int
    accuracy: float
    training: float
    evaluation: float

    def line(self, before: float) -> str:
        """A line on it; `before` is what a run of its own takes until the training begins."""
        return (
            f"seed {self.seed}: accuracy {self.accuracy:.4f}, training {self.training:.2f} s, evaluation "
            f"{self.evaluation:.2f} s; from a cold start {before + self.training + self.evaluation:.2f} s"
        )


def report(out: Path, settings: dict[str, Any], clock: Clock, runs: list[SeedRun], console: Console) -> None:
    """Print the table, and write it with every run to `summary.md` and `summary.json`."""
    accuracies = [run.accuracy for run in runs]
    totals = [clock.before + run.training + run.evaluation for run in runs]
    scored = "validation" if settings["validate"] else "test"
    header = ["net", "parameters", f"{scored} acc", "training s", "evaluation s", "import s", "data s", "compile s"]
    header.append("cold start s")
    row = [
        settings["net"],
        f"{settings['parameters']:,}",
        mean_and_spread(accuracies),
        mean_and_spread([run.training for run in runs], 2),
        mean_and_spread([run.evaluation for run in runs], 2),
        *(f"{clock.parts[name]:.2f}" for name in ("import", "data", "compile")),
        mean_and_spread(totals, 2),
    ]
    notes = [
        f"Seeds {runs[0].seed} to {runs[-1].seed}, every one counted: mean {np.mean(accuracies):.4%}, standard error "
        f"{100 * paired.standard_error(accuracies):.3f} points, lowest {min(accuracies):.4f}.",
        f"A run sees {settings['images per run']:,} images. A cold start is a run of its own: import, data and compile "
        f"side by side ({clock.before:.2f} s until the training), training, evaluation.",
    ]
    runs_of_it = [dataclasses.asdict(run) for run in runs]
    seconds = {**clock.parts, "before training": clock.before}
    table = Table(TITLE, header, [row])
    results.write_summary(out, {**settings, "runs": runs_of_it, "seconds": seconds}, markdown([table], notes))
    table.show(notes, console)
    results.name_files(out, ("summary.md", "summary.json"), console)


def seconds_of_process() -> float:
    """Seconds since the process began; where the system does not tell, those that it computed."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError):
        return time.process_time()
