"""Times of calls that take turns, so that a machine whose speed drifts is the same for all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from experiments.harness import config

Key = TypeVar("Key")


def require(rounds: int, least: float) -> None:
    """Refuse `--rounds` and `--least` with which nothing is timed; they are those of `medians`."""
    config.require_at_least("--rounds", rounds, 1)
    config.require_positive("--least", least)


def medians(calls: dict[str, Callable[[], Any]], *, rounds: int, least: float) -> dict[str, float]:
    """Seconds per call of everyone.

    Args:
        calls: by name; each returns what is to be waited for.
        rounds: how often everyone has a turn; the median counts.
        least: seconds that a turn takes at least; a short call is repeated for so long.
    """
    repeats = {}
    for name, call in calls.items():
        # The first call touches its memory for the first time.
        _seconds(call, 1)
        repeats[name] = max(1, math.ceil(least / max(_seconds(call, 1), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_seconds(call, repeats[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def one_round(
    calls: dict[Key, Callable[[], Any]],
    *,
    least: float,
    number: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, float]:
    """Milliseconds per call of everyone in one round, of several that processes take in turn.

    Args:
        calls: as in `medians`.
        least: as in `medians`.
        number: of the round. Each round begins with another call: the first after a pause of the process is slower.
        clock: in seconds; `time.process_time` counts what all cores do for this process, and nothing else.
    """
    found = {}
    first = number % max(1, len(calls))
    for key in [*calls, *calls][first : first + len(calls)]:
        call = calls[key]
        start = clock()
        jax.block_until_ready(call())
        repeats = math.ceil(least / max(clock() - start, 1e-7))
        start = clock()
        for _ in range(repeats):
            jax.block_until_ready(call())
        found[key] = (clock() - start) / repeats * 1e3
    return found


def _seconds(call: Callable[[], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        last = call()
    jax.block_until_ready(last)
    return (time.perf_counter() - start) / number
