"""Results as files: one folder per run, whole files only, readable by anything."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.harness.errors import UserError

Record = dict[str, Any]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all, whatever happens meanwhile: what is written to the path yielded becomes it."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}); make room there, or name another --out."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, readable by people too."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; `None` where there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object")
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}); delete it, or name another --out.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it, or name another --out.") from None


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write one JSON object per line."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_records(path: Path) -> list[Record]:
    """Read one JSON object per line, each with its step and seed; none where there is no file."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(record, dict) and {"step", "seed"} <= set(record) for record in records):
            raise ValueError("a line without step and seed")
        return records
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}); delete it, or name another --out.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON lines ({error}); delete its folder, or name another --out.") from None


def to_records(step: int, seeds: Sequence[int], metrics: dict[str, np.ndarray]) -> list[Record]:
    """One record per seed of an evaluation whose metrics are arrays `[seeds]`."""
    return [
        {"step": step, "seed": seed, **{name: float(value[i]) for name, value in metrics.items()}}
        for i, seed in enumerate(seeds)
    ]


def describe_environment() -> dict[str, object]:
    """The device and the versions that a result was made with."""
    import flax
    import jax
    import numpy as np
    import optax

    import jaxbn

    device = jax.devices()[0]
    versions = {module.__name__: module.__version__ for module in (jaxbn, jax, flax, optax, np)}
    return {
        "device": f"{device.platform} ({device.device_kind})",
        "versions": {"python": sys.version.split()[0], **versions},
    }


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str], console: Console) -> None:
    """The same table for people, with notes under it."""
    table = Table()
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for cells in rows:
        table.add_row(*cells)
    console.print()
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """`0.9853`, or `0.9853 ± 0.0007` (sample standard deviation) of several values."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
