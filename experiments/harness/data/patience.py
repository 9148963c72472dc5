"""How long a source may keep us waiting, from the moment that it was asked."""

import time

from experiments.harness.data.errors import SourceError

STALL_SECONDS = 8.0  # A source that cannot be reached must be given up within 10 s, all told.
STALL_BYTES = 1 << 16  # What must arrive in that time; one byte now and then is no transfer.


class Patience:
    """Watches the bytes of one transfer, which begins now: first for an answer, then for its speed.

    Args:
        seconds: the time in which the first byte must arrive, and after it `STALL_BYTES` at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._restart(0)

    def _restart(self, total: int) -> None:
        self._deadline = time.monotonic() + self._seconds
        self._mark = total

    def left(self) -> float:
        """Returns the seconds left for what must arrive next, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def observe(self, total: int) -> None:
        """Notes the number of bytes received so far.

        Raises:
            SourceError: none or too few arrived in time.
        """
        answered = self._mark == 0 < total
        if answered or total - self._mark >= STALL_BYTES:
            self._restart(total)
        elif not self.left():
            arrived = f"only {total - self._mark:,} bytes arrived" if total else "no answer came"
            raise SourceError(f"{arrived} in {self._seconds:g} s")
