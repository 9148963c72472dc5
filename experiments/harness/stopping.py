"""What SIGINT, SIGTERM and SIGHUP do to a program: it ends with a line, a status of its own, and nothing lost.

The first signal asks: what trains stops after its dispatch and keeps a checkpoint, and the main thread is interrupted.
If that takes too long, as in a long compilation, or with a second signal, the program ends at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds. More than a dispatch, a checkpoint and a last table take.
PATIENCE = 8.0

_asked: int | None = None
# A second signal may come while the handler of the first one ends the program, in the same thread.
_ending = threading.RLock()
# What to say where the program is ended at once; nothing needs an orderly end before there is something to say.
_last_words: str | None = None


class Interrupted(KeyboardInterrupt):
    """A signal has asked the program to end."""


def attend() -> None:
    """Listen to the signals from now on, but for those that were ignored before, as under `nohup`."""
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # The main thread may be in a library that gives no way to a handler for long; a thread that reads what has come is
    # not.
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(source,), daemon=True).start()


def begin(last_words: str) -> None:
    """From now on there is work that needs an orderly end.

    Args:
        last_words: what to say where there can be none.
    """
    global _last_words
    attend()
    _last_words = last_words


def asked() -> int | None:
    """The signal that has asked the program to end, if there was one."""
    return _asked


def ignore() -> None:
    """From now on signals change nothing: all is done, or the program is ending already."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end(number: int) -> NoReturn:
    """End the program at once, the terminal left as it was found."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()  # Another thread does it.
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # The cursor, which bars of progress hide.
        os.write(2, f"\nStopped. {_last_words or 'Nothing was begun yet.'}\n".encode())
    os._exit(128 + number)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    global _asked
    if _last_words is None:
        end(number)
    if _asked is None:
        _asked = number
        raise Interrupted


def _listen(source: int) -> None:
    number = 0
    while number not in SIGNALS:
        number = os.read(source, 1)[0]
    if _last_words is not None:
        select.select([source], [], [], PATIENCE)
    end(number)
