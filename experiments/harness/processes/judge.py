"""The judge in process 0: reads the beats of all from the store, and says when it is time to end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from experiments.harness.processes import judgement, words

# Seconds until it is said whom the others wait for.
_PATIENCE = 10.0
# Seconds that a turn of the clock counts at most.
_LONGEST_TURN = 3.0


class Verdict(NamedTuple):
    """Which process is the reason to end, a sentence about it, and whether it can still hear that."""

    process: int
    reason: str
    hears: bool = True


class Awake:
    """A clock that stands still with its process: after a rest, of the machine too, it accuses nobody."""

    def __init__(self) -> None:
        self._last, self._seconds = time.monotonic(), 0.0

    def tick(self) -> float:
        """The seconds up to now, of which each call adds a few at most; to be called every second."""
        now = time.monotonic()
        self._seconds += min(now - self._last, _LONGEST_TURN)
        self._last = now
        return self._seconds


class Judge:
    """Looks at the beats of `count` processes, time and again."""

    def __init__(self, count: int) -> None:
        self._count, self._awake = count, Awake()
        self._sights: dict[int, judgement.Sight] = {}
        self._told_of: tuple[int, float] | None = None

    def look(self, beats: Mapping[str, str]) -> Verdict | None:
        """A verdict, if there is reason for one."""
        now = self._awake.tick()
        new = {int(process): judgement.Beat(*json.loads(text)) for process, text in beats.items()}
        self._sights = judgement.update(self._sights, new, now)
        if gone := judgement.find_gone(self._sights, now):
            return Verdict(gone.process, words.gone(self._name(gone), now - gone.since), hears=False)
        if late := judgement.find_late(self._sights):
            seconds, reached = now - late.since, late.sight.beat.reached
            # Before its first step it may download or compile for as long as that takes.
            if reached and seconds > judgement.STUCK_AFTER:
                return Verdict(late.process, words.stuck(self._name(late), reached, seconds))
            # What process 0 does, it can say itself.
            if late.process and seconds > _PATIENCE and self._told_of != (late.process, late.since):
                self._told_of = late.process, late.since
                print(f"waiting for {self._name(late)}{words.where(reached)}", file=sys.stderr)
        return None

    def at_work(self) -> list[int]:
        """Who has not done all its work."""
        return [p for p in range(self._count) if p not in self._sights or not self._sights[p].beat.done]

    def asked(self) -> int | None:
        """The first of those that a signal has asked to end, if there is one."""
        return min((p for p, sight in self._sights.items() if sight.beat.asked), default=None)

    def _name(self, finding: judgement.Finding) -> str:
        return words.name(finding.process, self._count)
