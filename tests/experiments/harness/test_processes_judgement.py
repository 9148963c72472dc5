"""Who is gone and who is late, from made-up beats and times."""

import json

import pytest

from experiments.harness.processes import judge, judgement
from experiments.harness.processes.judgement import Beat, find_gone, find_late, update


def watched(*rows, until):
    """The sights after rows `(time, {process: (begun, done)})`; who has come beats until its `begun` is None."""
    sights, beats, store = {}, {}, {}
    for now in range(until + 1):
        for time, changed in rows:
            if time == now:
                beats |= changed
        # The last beat of who is gone stays in the store.
        store |= {
            p: Beat(now, begun, ("run", begun), done, False) for p, (begun, done) in beats.items() if begun is not None
        }
        sights = update(sights, store, float(now))
    return sights


def test_all_that_beat_and_have_begun_the_same_are_well_however_long_it_takes():
    sights = watched((0, {0: (7, False), 1: (7, False), 2: (7, False)}), until=1000)
    assert find_gone(sights, 1000.0) is None
    assert find_late(sights) is None


def test_who_beats_no_more_is_gone_after_the_limit_and_since_the_last_beat():
    sights = watched((0, {0: (7, False), 1: (7, False)}), (30, {1: (None, False)}), until=49)
    assert find_gone(sights, 49.0) is None
    sights = watched((0, {0: (7, False), 1: (7, False)}), (30, {1: (None, False)}), until=50)
    gone = find_gone(sights, 50.0)
    assert (gone.process, gone.since) == (1, 29.0)
    assert judgement.GONE_AFTER == 20


def test_who_has_begun_less_is_late_since_another_one_waits():
    rows = (0, {0: (7, False), 1: (7, False), 2: (7, False)}), (30, {0: (8, False)}), (33, {2: (8, False)})
    late = find_late(watched(*rows, until=60))
    assert (late.process, late.since, late.sight.beat.reached) == (1, 30.0, ("run", 7))
    assert find_gone(watched(*rows, until=60), 60.0) is None


def test_it_is_late_only_since_it_is_there():
    assert find_late(watched((0, {0: (8, False)}), (25, {1: (7, False)}), until=26)).since == 25.0
    # Or since its own last computation began.
    late = find_late(watched((0, {0: (9, False), 1: (7, False)}), (25, {1: (8, False)}), until=26))
    assert late.since == 25.0


def test_who_has_begun_what_the_others_have_is_late_no_more():
    assert find_late(watched((0, {0: (8, False), 1: (7, False)}), (25, {1: (8, False)}), until=26)) is None


def test_of_two_that_are_late_the_first_is_found():
    rows = (0, {0: (7, False), 1: (7, False), 2: (7, False)}), (10, {0: (8, False)}), (20, {1: (7, True)})
    late = find_late(watched(*rows, until=60))
    assert (late.process, late.since) == (2, 10.0)


@pytest.mark.parametrize(("done", "late"), [(0, 1), (1, 0)])
def test_who_is_done_waits_for_those_at_work_and_is_never_late(done, late):
    assert find_late(watched((0, {done: (7, True), late: (9, False)}), until=60)).process == late
    assert find_late(watched((0, {0: (7, True), 1: (9, True)}), until=60)) is None


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    seconds = [0.0]
    monkeypatch.setattr(judge.time, "monotonic", lambda: seconds[0])
    return seconds


def looks(clock, judge, beats, *, seconds):
    """The judge's verdicts while the processes beat for so many seconds."""
    verdicts = []
    for _ in range(seconds):
        clock[0] += 1
        new = {
            p: json.dumps(Beat(int(clock[0]), begun, reached, False, False)) for p, (begun, reached) in beats.items()
        }
        verdicts.append(judge.look({str(p): text for p, text in new.items()}))
    return verdicts


def test_the_verdict_on_who_is_stuck_comes_after_the_limit(clock, capsys):
    beats = {0: (7, ("conv", 1200)), 1: (7, ("conv", 1200))}
    court = judge.Judge(2)
    assert looks(clock, court, beats, seconds=100) == [None] * 100
    *before, last = looks(clock, court, {**beats, 0: (8, ("conv", 1300))}, seconds=42)
    assert before == [None] * 41
    assert (last.process, last.hears) == (1, True)
    assert last.reason.startswith("process 1 of 2 is stuck in step 1,200 of conv since ")
    assert last.reason.endswith(", and the others have waited for 41 s")
    # Long before, and once.
    assert capsys.readouterr().err == "waiting for process 1 of 2 in step 1,200 of conv\n"


def test_before_its_first_step_a_process_may_take_as_long_as_it_likes(clock, capsys):
    verdicts = looks(clock, judge.Judge(2), {0: (2, None), 1: (1, None)}, seconds=1000)
    assert verdicts == [None] * 1000
    assert capsys.readouterr().err == "waiting for process 1 of 2, which has not done its first step\n"


def test_nobody_is_told_that_the_others_wait_for_process_0(clock, capsys):
    assert looks(clock, judge.Judge(2), {0: (7, ("conv", 1)), 1: (8, ("conv", 2))}, seconds=30) == [None] * 30
    assert capsys.readouterr().err == ""


def test_the_verdict_on_who_is_gone_names_the_time(clock):
    court = judge.Judge(3)
    looks(clock, court, {0: (7, None), 1: (7, None), 2: (7, None)}, seconds=5)
    # The beat of 1 stays in the store as it is.
    for _ in range(20):
        assert looks(clock, court, {0: (7, None), 2: (7, None)}, seconds=1) == [None]
    (verdict,) = looks(clock, court, {0: (7, None), 2: (7, None)}, seconds=1)
    assert (verdict.process, verdict.hears) == (1, False)
    assert verdict.reason.startswith("process 1 of 3 is gone: no sign of life since ")
    assert verdict.reason.endswith(", 21 s ago")


def test_after_a_rest_of_the_judge_nobody_is_accused(clock):
    court = judge.Judge(2)
    beats = {0: (8, ("conv", 1)), 1: (7, ("conv", 1))}
    looks(clock, court, beats, seconds=5)
    clock[0] += 3600
    assert looks(clock, court, beats, seconds=10) == [None] * 10


def test_at_work_is_who_has_not_said_that_all_is_done(clock):
    court = judge.Judge(3)
    assert court.at_work() == [0, 1, 2]
    court.look({"0": json.dumps(Beat(1, 7, None, True, False)), "1": json.dumps(Beat(1, 7, None, False, False))})
    assert court.at_work() == [1, 2]


def test_asked_to_end_is_the_first_whose_beat_says_so(clock):
    court = judge.Judge(3)
    for asked, first in (([], None), ([2], 2), ([1, 2], 1), ([0, 1], 0)):
        court.look({str(p): json.dumps(Beat(1, 7, None, False, p in asked)) for p in range(3)})
        assert court.asked() == first
