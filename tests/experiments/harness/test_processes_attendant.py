"""How long an attendant waits for a child that says nothing, or that goes on; no second passes."""

import subprocess

import pytest

from experiments.harness.processes import attendant
from experiments.harness.processes.heard import Heard

BEAT, FINISHED = '{"beat": true}\n', '{"finished": true}\n'


class Child:
    """Lives until it is killed, if it can be, and at most 100 turns; says what it has to say in each."""

    def __init__(self, heard, says, *, mortal=True):
        self.heard, self.says, self.mortal, self.turn, self.dead = heard, says, mortal, 0, False

    def poll(self):
        return -9 if self.dead or self.turn == 100 else None

    def wait(self, timeout):
        self.turn += 1
        self.heard.take(self.says(self.turn))
        raise subprocess.TimeoutExpired("child", timeout)

    def kill(self):
        self.dead = self.mortal


def beats_up_to(last, *more):
    """A beat in each turn up to the last one, in which it says more."""
    return lambda turn: [BEAT] * (turn <= last) + [*more] * (turn == last)


@pytest.mark.parametrize(
    ("says", "asked", "mortal", "turns", "reason"),
    [
        (beats_up_to(10), [], True, 31, "this process is gone: no sign of life since "),
        (beats_up_to(10), [], False, 41, "this process is gone: no sign of life since "),
        (beats_up_to(10, FINISHED), [], True, 100, ""),
        # While it joins, it need not beat.
        (beats_up_to(0), [], True, 100, ""),
        (beats_up_to(100), [], True, 100, ""),
        (beats_up_to(100), [15], True, 16, ""),
        (beats_up_to(100), [15], False, 26, ""),
    ],
    ids=["silent", "silent, held by a driver", "finished", "joining", "alive", "deaf", "deaf, held by a driver"],
)
def test_a_child_is_ended_that_is_silent_or_deaf(says, asked, mortal, turns, reason):
    heard = Heard()
    child = Child(heard, says, mortal=mortal)
    attendant._wait(child, heard, asked)
    assert child.turn == turns
    assert heard.reason.startswith(reason)
    assert bool(heard.reason) == bool(reason)


def test_who_waits_for_others_is_told_once(capsys):
    heard = Heard()
    heard.take(['{"joining": ["host:1234", 45]}\n'])
    attendant._wait(Child(heard, lambda _: []), heard, [])
    assert capsys.readouterr().err == "waiting for all processes to come to host:1234\n"
