"""Files that are whole or not there, and what is said where they can't be read or written."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.harness.errors import UserError


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


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what keeps the block from writing to a path."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}); make room there, or name another --out."
        ) from None


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
