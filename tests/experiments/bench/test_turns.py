"""Calls that take turns, by a clock that only they move: how often each is called, and what is said of it."""

import types

import pytest

from experiments.bench import turns


class Clock:
    """Seconds, and the names of the calls that took them."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def call(self, name, seconds):
        def run():
            self.called.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock():
    return Clock()


def test_a_turn_is_as_long_as_is_asked_and_the_median_counts(clock, monkeypatch):
    monkeypatch.setattr(turns, "time", types.SimpleNamespace(perf_counter=lambda: clock.now))
    calls = {"short": clock.call("short", 0.4), "long": clock.call("long", 5.0)}
    # Each once to touch its memory, and once to see how often it fits into a turn.
    begin, each_round = ["short"] * 2 + ["long"] * 2, ["short"] * 3 + ["long"]
    assert turns.medians(calls, rounds=3, least=1.0) == pytest.approx({"short": 0.4, "long": 5.0})
    assert clock.called == begin + 3 * each_round
    seconds = iter([0.0, 0.0, 1.0, 9.0, 2.0])
    uneven = {"uneven": lambda: clock.call("uneven", next(seconds))()}
    assert turns.medians(uneven, rounds=3, least=0.0) == pytest.approx({"uneven": 2.0})


def test_another_one_begins_in_every_round(clock):
    calls = {"a": clock.call("a", 2.0), "b": clock.call("b", 0.5)}
    for number, expected in ((0, "a" * 2 + "b" * 3), (1, "b" * 3 + "a" * 2), (2, "a" * 2 + "b" * 3)):
        clock.called.clear()
        # In milliseconds.
        found = turns.one_round(calls, least=1.0, number=number, clock=lambda: clock.now)
        assert found == pytest.approx({"a": 2000, "b": 500})
        assert "".join(clock.called) == expected
