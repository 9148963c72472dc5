"""What a signal does to a program: it ends with a line and a status of its own, at once when it comes twice."""

import signal
import subprocess
import sys
import time

import pytest

from experiments.harness import stopping
from tests.sources import ROOT

# A program that says how far it is, and then stays where the test wants it.
HEAD = """
import signal, sys, threading, time
from experiments.harness import stopping
stopping.PATIENCE = 0.5
stopping.attend()
def stay():
    print("here", flush=True)
    threading.Event().wait(60)
"""
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def end(code: str, *numbers: int, pause: float = 0.0) -> tuple[int, str, float]:
    """The status, what was said at the end, and the seconds from the first signal on."""
    command = [sys.executable, "-c", HEAD + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        begun = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(pause)
        try:
            _, said = process.communicate(timeout=50)
        finally:
            process.kill()
    return process.returncode, said, time.monotonic() - begun


@pytest.mark.parametrize("number", NUMBERS)
def test_before_there_is_anything_to_lose_it_ends_at_once(number: int) -> None:
    status, said, _ = end("stay()", number)
    assert (status, said) == (128 + number, "\nStopped. Nothing was begun yet.\n")


# The handler takes its time for the last line, and the listener hears nothing.
SLOW = """
import os
signal.set_wakeup_fd(-1)
write = os.write
def write_late(descriptor, words):
    time.sleep(1)
    return write(descriptor, words)
os.write = write_late
stay()
"""


def test_a_second_signal_at_the_last_line_does_not_hold_the_end() -> None:
    status, said, _ = end(SLOW, signal.SIGTERM, signal.SIGINT, pause=0.2)
    assert status in (130, 143)
    assert "Stopped. Nothing was begun yet." in said


WORK = """
stopping.PATIENCE = 40
stopping.begin("To go on: again.")
try:
    stay()
except stopping.Interrupted:
    time.sleep(0.5)  # It is given the time that it needs.
    print("tidied up", stopping.asked(), file=sys.stderr)
    sys.exit(128 + stopping.asked())
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_work_is_interrupted_and_tidies_up(number: int) -> None:
    status, said, _ = end(WORK, number)
    assert (status, said) == (128 + number, f"tidied up {int(number)}\n")


# Without a way for a handler of Python's: as in a library that is at work for long.
DEAF = """
stopping.begin("To go on: again.")
signal.signal(signal.SIGTERM, lambda *_: None)
stay()
"""


def test_work_that_goes_on_is_ended_after_a_while() -> None:
    status, said, _ = end(DEAF, signal.SIGTERM)
    assert (status, said) == (143, "\nStopped. To go on: again.\n")


def test_a_second_signal_ends_at_once() -> None:
    status, said, seconds = end("stopping.PATIENCE = 40" + DEAF, signal.SIGTERM, signal.SIGTERM, pause=0.2)
    assert (status, said) == (143, "\nStopped. To go on: again.\n")
    assert seconds < 30


def test_what_was_ignored_stays_ignored() -> None:
    """As under `nohup`."""
    code = "stopping.begin('now'); print('here', flush=True); time.sleep(2); print('end', file=sys.stderr)"
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with subprocess.Popen(
        [sys.executable, "-c", ignore + HEAD + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=50)[1] == "end\n"
    assert process.returncode == 0


def test_a_program_of_others_is_left_alone() -> None:
    """Importing an experiment, as tests do, changes no handler."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert stopping.asked() is None
