"""Results as files: one folder per run, readable by anything."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.harness.environment import describe_environment
from experiments.harness.files import write_json, write_text

Record = dict[str, Any]


def write_summary(
    folder: Path,
    measured: dict[str, Any],
    text: str,
    *,
    name: str = "summary",
    environment: dict[str, object] | None = None,
) -> None:
    """Write what a program found, for people and for other programs.

    Args:
        folder: made where it is missing.
        measured: for `summary.json`, as JSON; the environment is added.
        text: for `summary.md`, as from `tables.markdown`.
        name: of both files.
        environment: as from `describe_environment`; `None` for that of this process.
    """
    found = describe_environment() if environment is None else environment
    write_text(folder / f"{name}.md", text)
    # Last, for it tells that there are results.
    write_json(folder / f"{name}.json", {**measured, **found})


@contextlib.contextmanager
def reported(finished: Mapping[str, Any], report: Callable[[], None]) -> Iterator[None]:
    """Report the runs that the block has finished, also after Ctrl-C: they deserve their table.

    Args:
        finished: filled by the block.
        report: called at the end, unless nothing is finished.
    """
    try:
        yield
    finally:
        if finished:
            report()


def name_files(folder: Path, names: Iterable[str], console: Console) -> None:
    """Say where the results are."""
    console.print(f"Files: {', '.join(str(folder / name) for name in names)}", soft_wrap=True)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write one JSON object per line."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def note_left_out(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """A sentence for each run, given by its name, that has lost a seed since its first evaluation."""
    said = []
    for name, records in runs.items():
        last = {record["seed"] for record in records if record["step"] == records[-1]["step"]}
        if lost := sorted({record["seed"] for record in records} - last):
            said.append(f"{name} is without seed {', '.join(map(str, lost))}, whose metrics were not finite.")
    return said


def to_records(step: int, seeds: Sequence[int], metrics: dict[str, np.ndarray]) -> list[Record]:
    """One record per seed of an evaluation whose metrics are arrays `[seeds]`."""
    return [
        {"step": step, "seed": seed, **{name: float(value[i]) for name, value in metrics.items()}}
        for i, seed in enumerate(seeds)
    ]
