"""What is said about a process: the sentences that end the others, without their full stops."""

from __future__ import annotations

import time


def name(process: int, count: int) -> str:
    """The name of a process."""
    return f"process {process} of {count}"


def clock(seconds_ago: float = 0.0) -> str:
    """What a clock showed then."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() - seconds_ago))


def gone(who: str, seconds: float) -> str:
    """No beat for so many seconds."""
    return f"{who} is gone: no sign of life since {clock(seconds)}, {seconds:.0f} s ago"


def stuck(who: str, reached: tuple[str, int], seconds: float) -> str:
    """Late for so many seconds."""
    return f"{who} is stuck{where(reached)} since {clock(seconds)}, and the others have waited for {seconds:.0f} s"


def where(reached: tuple[str, int] | None) -> str:
    """In which step."""
    return f" in step {reached[1]:,} of {reached[0]}" if reached else ", which has not done its first step"
