"""Who of several processes is gone, and who keeps the others waiting: functions of what was seen, and when.

A process is gone when its beat stands still: killed, stopped, or its machine lost. It is late when it beats, but has
not begun a computation that another one has: all share it, so the other one waits. After a while it is stuck: asleep,
or at work on the host for ever. Where all have begun the same computation none is to blame, however long it takes: that
may be a long computation, or its compilation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# Beats come each second. A loaded machine delays them by a few.
GONE_AFTER = 20.0
# Between two computations that all share, a process makes batches or writes a checkpoint: here a matter of a second.
STUCK_AFTER = 40.0


class Beat(NamedTuple):
    """A sign of life: its number, `activity` at that time, and whether a signal has asked the process to end."""

    number: int
    begun: int
    reached: tuple[str, int] | None
    done: bool
    asked: bool


class Sight(NamedTuple):
    """The last beat that was seen of a process, and the times at which its number and its computations last changed."""

    beat: Beat
    moved: float
    began: float


class Finding(NamedTuple):
    """Of which process what was found, and since when."""

    process: int
    sight: Sight
    since: float


def update(sights: Mapping[int, Sight], beats: Mapping[int, Beat], now: float) -> dict[int, Sight]:
    """The sights after a look at the beats, a part of which is new."""
    new = dict(sights)
    for process, beat in beats.items():
        last = sights.get(process, Sight(beat, now, now))
        new[process] = Sight(
            beat,
            last.moved if beat.number == last.beat.number else now,
            last.began if (beat.begun, beat.done) == (last.beat.begun, last.beat.done) else now,
        )
    return new


def find_gone(sights: Mapping[int, Sight], now: float) -> Finding | None:
    """A process that is gone."""
    for process, sight in sights.items():
        if now - sight.moved > GONE_AFTER:
            return Finding(process, sight, sight.moved)
    return None


def find_late(sights: Mapping[int, Sight]) -> Finding | None:
    """The process that the others have waited for the longest."""
    late = []
    for process, sight in sights.items():
        waiting = [s.began for s in sights.values() if s.beat.done or s.beat.begun > sight.beat.begun]
        if waiting and not sight.beat.done:
            late.append(Finding(process, sight, max(sight.began, min(waiting))))
    return min(late, key=lambda finding: finding.since, default=None)
