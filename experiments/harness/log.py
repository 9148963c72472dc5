"""What libraries say beside the point goes to a log file, never onto the terminal.

Orbax's threads tell of a full disk or a damaged file in hundreds of lines, some of them long after the one error that
is raised; a program's own line names the file instead.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

# Loggers of Orbax and of the event loops that it leaves behind.
_LOGGERS = ("absl", "asyncio")


def divert() -> None:
    """Send what Orbax and the threads of this program say from now on to the log."""
    # absl must make its logger itself: one made before it by `getLogger` would have the wrong class.
    with contextlib.suppress(ImportError):
        import absl.logging as _  # noqa: F401
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_HANDLER], False
    sys.unraisablehook = _note
    threading.excepthook = _note
    # What Orbax had begun when it failed.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")


def mention() -> str:
    """Where more is said, to be put behind a sentence; nothing if no library has said anything."""
    return f" More in {_HANDLER.path}." if _HANDLER.path else ""


def _note(failure: Any) -> None:
    """A hook for exceptions that nobody can catch: of a thread, or in a finaliser."""
    # What fails for want of memory can't be told for want of memory.
    with contextlib.suppress(Exception):
        lines = traceback.format_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
        _HANDLER.write("".join(lines))


class _Handler(logging.Handler):
    """Appends to a file in the folder for temporary files, made when there is something to say."""

    path: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record))

    def write(self, text: str) -> None:
        # Where that folder is full too, there is nobody left to tell.
        with contextlib.suppress(OSError), self.lock or contextlib.nullcontext():
            if self.path is None:
                # Readable by its owner alone.
                with tempfile.NamedTemporaryFile(prefix="jaxbn-", suffix=".log", delete=False) as file:
                    self.path = Path(file.name)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text.rstrip("\n") + "\n")


_HANDLER = _Handler()
