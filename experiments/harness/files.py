"""Files that are whole or not there, and what is said where they can't be read or written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.harness.errors import UserError

# Thousands of times what a file of settings or results has.
MOST_BYTES_OF_JSON = 1 << 24


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all, whatever happens meanwhile: what is written to the path yielded becomes it.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody can foresee the name, and the file is made here: what is written goes through no link that someone laid.
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.partial{path.suffix}")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _mode(path)))
    try:
        yield partial
        # Or a machine that is lost may leave the name without the content.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The same for a file of results.

    Raises:
        UserError: it can't be written.
    """
    with writing(path), replaced(path) as partial:
        yield partial


def remove_partial(folder: Path) -> None:
    """Remove what processes that were killed have left of files in a folder."""
    for partial in folder.glob(".*.partial*"):
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what keeps the block from writing to a path."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> UserError:
    """What to say of a path that could not be written."""
    remedy = "make room there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return UserError(f"{path} could not be written ({error.strerror}); {remedy}name another --out.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, readable by people too."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def size_at_most(path: Path, most: int) -> int:
    """The bytes of a regular file, counted and not read.

    Raises:
        OSError: there are more than `most`, or it is something else, such as a pipe or a device without an end.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {most:,}")
    return status.st_size


def read_at_most(path: Path, most: int) -> bytes:
    """The content of such a file.

    Raises:
        OSError: as in `size_at_most`, or it can't be read.
    """
    size = size_at_most(path, most)
    with path.open("rb") as file:
        return file.read(size)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; `None` where there is no file."""
    try:
        value = json.loads(read_at_most(path, MOST_BYTES_OF_JSON).decode())
        if not isinstance(value, dict):
            raise ValueError("no object")
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}); delete it, or name another --out.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); delete it, or name another --out.") from None


def _mode(path: Path) -> int:
    """What `open` would ask for; a file that others must not read stays so."""
    try:
        return path.stat().st_mode & 0o777 | 0o600
    except OSError:
        return 0o666
