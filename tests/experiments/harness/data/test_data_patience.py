"""How long a source is waited for, with a clock that is set by hand."""

import pytest

from experiments.harness.data.errors import SourceError
from experiments.harness.data.patience import STALL_BYTES, STALL_SECONDS, Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Returns the time as a list of one number, which the test moves."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_slow_but_steady_source_is_not_given_up(clock: list[float]) -> None:
    watch = Patience(8.0)
    for chunk in range(1, 100):
        clock[0] += 7.9
        watch.observe(chunk * STALL_BYTES)
    assert watch.left() == 8.0


def test_a_source_that_does_not_answer_is_given_up(clock: list[float]) -> None:
    watch = Patience(8.0)
    clock[0] += 7.0
    watch.observe(0)
    assert watch.left() == 1.0
    clock[0] += 1.0
    with pytest.raises(SourceError, match=r"^no answer came in 8 s$"):
        watch.observe(0)


def test_a_source_that_sends_too_little_is_given_up(clock: list[float]) -> None:
    """The time of the transfer starts with its first byte."""
    watch = Patience(8.0)
    clock[0] += 7.0
    watch.observe(1)
    clock[0] += 7.0
    watch.observe(STALL_BYTES)
    assert watch.left() == 1.0
    clock[0] += 1.0
    with pytest.raises(SourceError, match=r"^only 65,535 bytes arrived in 8 s$"):
        watch.observe(STALL_BYTES)


def test_a_source_that_stalls_after_a_while_is_given_up(clock: list[float]) -> None:
    watch = Patience(8.0)
    clock[0] += 4.0
    watch.observe(5 * STALL_BYTES)
    clock[0] += 9.0
    assert watch.left() == 0.0
    with pytest.raises(SourceError, match=r"^only 10 bytes arrived in 8 s$"):
        watch.observe(5 * STALL_BYTES + 10)


def test_the_default_is_below_ten_seconds() -> None:
    assert STALL_SECONDS < 10
