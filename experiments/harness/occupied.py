"""One run per folder: a lock that holds as long as its process lives, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
from pathlib import Path

from experiments.harness import files
from experiments.harness.errors import UserError

_NAME = ".running"
# What this process holds, by folder: the name of the argument, and the file of the lock.
_held: dict[Path, tuple[str, int]] = {}
# Several runs of this process write at once.
_holding = threading.Lock()


def occupy(name: str, folder: Path) -> None:
    """Take a folder for this process, until `leave_all` or its end.

    Args:
        name: of the argument that names the folder.
        folder: it must exist.

    Raises:
        UserError: another process has it; the sentence tells which.
    """
    key = folder.resolve()
    path = key / _NAME
    if key in _held:
        if _is_at(path, _held[key][1]):
            return
        # Somebody has deleted the folder.
        os.close(_held.pop(key)[1])
    # To be written too, for NFS gives no lock else.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise UserError(
            f"`{name}` must be a folder that no other run writes to, but {folder} is in use by {holder}; wait for it, "
            "or name another one."
        ) from None
    except OSError:
        # A file system that knows no locks.
        os.close(descriptor)
        return
    # Whoever had it may just have taken the file away.
    if not _is_at(path, descriptor):
        os.close(descriptor)
        occupy(name, folder)
        return
    _held[key] = name, descriptor
    me = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    # On a full disk the lock is as good without a name in it.
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(me))


def hold() -> None:
    """Make sure of all folders, which somebody may have deleted under this process.

    Raises:
        UserError: as in `occupy`.
    """
    with _holding:
        for folder, (name, _) in list(_held.items()):
            with files.writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                occupy(name, folder)


def leave_all() -> None:
    """Give all folders back."""
    for folder, (_, descriptor) in _held.items():
        # Before the lock is given up, or it could be another's.
        with contextlib.suppress(OSError):
            (folder / _NAME).unlink()
        os.close(descriptor)
    _held.clear()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        said = f"process {int(holder['process'])} on {holder['host']} since {holder['since']}"
        return said if said.isprintable() else "another process"
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return "another process"
