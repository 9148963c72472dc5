"""How long a source may keep us waiting."""

import time

from experiments.harness.data.errors import SourceError

STALL_SECONDS = 8.0  # A source that cannot be reached must be given up within 10 s, all told.
STALL_BYTES = 1 << 16  # What must arrive in that time; one byte now and then is no transfer.


class Patience:
    """Watches the bytes of one transfer.

    Args:
        seconds: the time in which `STALL_BYTES` must arrive.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._restart(0)

    def _restart(self, total: int) -> None:
        self._deadline = time.monotonic() + self._seconds
        self._mark = total

    def left(self) -> float:
        """Returns the seconds left for the next `STALL_BYTES`, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def observe(self, total: int) -> None:
        """Notes the number of bytes received so far.

        Raises:
            SourceError: too few arrived in time.
        """
        if total - self._mark >= STALL_BYTES:
            self._restart(total)
        elif not self.left():
            raise SourceError(f"only {total - self._mark:,} bytes arrived in {self._seconds:g} s")
