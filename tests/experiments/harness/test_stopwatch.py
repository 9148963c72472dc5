"""Seconds, counted on from those spent before."""

import pytest

from experiments.harness import stopwatch


def test_a_stopwatch_goes_on_from_what_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    fresh, resumed = stopwatch.Stopwatch(), stopwatch.Stopwatch(7.5)
    now[0] += 2
    assert (fresh.seconds(), resumed.seconds()) == (2, 9.5)
