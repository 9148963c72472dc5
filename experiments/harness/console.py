"""The console that all output of an experiment goes through."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.harness import stopping
from experiments.harness.errors import UserError

# Wide and without wrapping, so that a line stays a line in a pipe or a log file.
_WIDTH_OF_A_LOG = 160


def make_console() -> Console:
    """A console for people on a terminal, and for plain lines anywhere else."""
    # Python has none where they are closed.
    sys.stdout, sys.stderr = (s or Path(os.devnull).open("w") for s in (sys.stdout, sys.stderr))  # noqa: SIM115
    output: Any = _Output()
    # Not what the environment says: notebooks ask everything that they start for colours.
    where: dict[str, Any] = {"file": output, "force_terminal": _is_terminal(output), "force_jupyter": False}
    plain = functools.partial(Console, **where, highlight=False, emoji=False, markup=False)
    console = plain()
    return console if console.is_terminal else plain(width=_WIDTH_OF_A_LOG, soft_wrap=True)


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Say in one line what keeps the block from writing to the standard output."""
    try:
        yield
    except OSError as error:
        # A program that is asked to end with its terminal has better to do than to complain of it.
        if not stopping.asked():
            raise UserError(f"standard output could not be written ({error.strerror}); send it elsewhere.") from None


def say(text: str) -> None:
    """Say a last line to the user, if there still is one to hear it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def give_up_output() -> None:
    """Drop what can't be written any more, which the end of the interpreter would complain about."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _is_terminal(stream: Any) -> bool:
    """No for one that is closed, or has no such question, as some that stand in for the output."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


class _Output:
    """The standard output of the moment, whose failures are the user's to mend."""

    def write(self, text: str) -> int:
        # Of what its encoding lacks, a sign less is better than a table less.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with writing_output():
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with writing_output():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def _stream(self) -> Any:
        # While bars of progress are shown, rich stands in the place of the output.
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)
