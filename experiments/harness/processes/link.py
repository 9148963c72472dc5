"""A child's line to its attendant: messages go up; when it breaks, the attendant is dead, and the child ends too."""

from __future__ import annotations

import json
import os
import socket
import threading

from experiments.harness import stopping
from experiments.harness.processes.status import GIVEN_UP

VARIABLE = "JAXBN_ATTENDED_OVER"

_line: socket.socket | None = None
_lock = threading.Lock()


def take_up() -> bool:
    """Whether this process has an attendant; if so, from now on it lives no longer than that."""
    global _line
    # Taken away, for what this process starts has no attendant.
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is None:
        return _line is not None
    _line = socket.socket(fileno=int(descriptor))
    threading.Thread(target=_end_with, args=(_line,), daemon=True).start()
    stopping.attend()
    return True


def tell(**message: object) -> bool:
    """Send a message; whether there is an attendant to read it."""
    if _line is None:
        return False
    with _lock:
        try:
            _line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(GIVEN_UP)
    return True


def _end_with(line: socket.socket) -> None:
    try:
        line.recv(1)
    finally:
        os._exit(GIVEN_UP)
