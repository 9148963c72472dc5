"""Measured time, which a resumed run continues."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds since it was made, on top of those spent before."""

    def __init__(self, spent: float = 0.0) -> None:
        self._start = time.perf_counter() - spent

    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start
