"""What a child has told its attendant, and the line that the attendant makes of it when the child is no more."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable
from typing import Any

from experiments.harness.processes import words

# JAX's words where it can't listen, and then ends by SIGSEGV instead of raising an error.
_NO_PORT = "Failed to add port to server"
_STATUS_OF_JAX = re.compile(r"absl::Status: (.*)")


class Heard:
    """The messages of a child, taken in one by one."""

    def __init__(self) -> None:
        self.joining: tuple[str, int] | None = None
        self.reason = ""
        self.beats = 0
        self.finished = False
        self._process, self._count = 0, 0
        self._saved: tuple[str, int] | None = None

    def take(self, messages: Iterable[str]) -> None:
        """Take in all messages until the link breaks."""
        for text in messages:
            if text.endswith("\n"):  # The last one may have been cut off.
                self._take(json.loads(text))

    def end_silence(self, seconds: int) -> None:
        """Note that there was no beat for so long."""
        self.reason = self.reason or words.gone(self._name(), seconds)

    def explain(self, number: int, said: str) -> bool:
        """Find why a signal has ended the child.

        Args:
            number: of the signal.
            said: what C++ has printed before.

        Returns:
            Whether `said` told the reason; if not, the user has to see it too.
        """
        status = _STATUS_OF_JAX.search(said)
        now = words.clock()
        if self.joining and _NO_PORT in said:
            self.reason = f"this process can't listen at {self.joining[0]}, take a free port"
        elif status and self.joining:
            address, seconds = self.joining
            if status[1].startswith("DEADLINE_EXCEEDED"):
                self.reason = f"not all processes have come to {address} within {seconds} s"
            else:
                self.reason = f"this process could not join the others at {address} ({status[1]})"
        elif status and status[1].startswith("UNAVAILABLE") and self._process:
            self.reason = f"{words.name(0, self._count)} is gone: the connection to it broke at {now}"
        elif status:
            self.reason = f"{self._name()} was ended at {now} by JAX ({status[1]})"
        else:
            memory = ", perhaps for want of memory" if number == signal.SIGKILL else ""
            self.reason = f"{self._name()} was ended by {signal.Signals(number).name} at {now}{memory}"
            return False
        return True

    def way_on(self) -> str:
        """What to do now."""
        if self.joining:
            return "start all of them with the same address, each with a number of its own."
        if self._saved is None:  # As far as is known here: the last second may not have been told.
            return "with --resume, the same command goes on from the last checkpoint, if there is one."
        run, step = self._saved
        return f"the last checkpoint of {run} is of step {step:,}: the same command with --resume goes on."

    def _name(self) -> str:
        return words.name(self._process, self._count) if self._count else "this process"

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"beat": _}:
                self.beats += 1
            case {"joining": [address, seconds]}:
                self.joining = address, seconds
            case {"joined": [process, count]}:
                self._process, self._count, self.joining = process, count, None
            case {"saved": [run, step]}:
                self._saved = run, step
            case {"reason": reason}:
                self.reason = reason
            case {"finished": _}:
                self.finished = True
