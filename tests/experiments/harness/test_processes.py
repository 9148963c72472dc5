"""When one of two processes dies, hangs or fails, both end with a line that names it: real processes, all at once."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from experiments.harness.processes import attendant
from tests.sources import ROOT

pytestmark = pytest.mark.slow

JOB = "tests.experiments.harness.processes_job"
# The event, and to which process; each one's status, and the start of its last line where it is 75.
CASES = {
    ("killed", 1): [("process 1 of 2 is gone: no sign", 75), ("process 1 of 2 was ended by SIGKILL", 75)],
    ("killed", 0): [("process 0 of 2 was ended by SIGKILL", 75), ("process 0 of 2 is gone: the connection", 75)],
    ("stopped", 1): [("process 1 of 2 is gone: no sign", 75)] * 2,
    ("stopped", 0): [("process 0 of 2 is gone: no sign", 75)] * 2,
    ("asleep", 1): [("process 1 of 2 is stuck in step 5 of sums", 75)] * 2,
    ("mistaken", 1): [("process 1 of 2 has failed: `--models` must name at least one, got none;", 75), ("", 2)],
    ("broken", 0): [("", 1), ("process 0 of 2 has failed: ZeroDivisionError: division by zero;", 75)],
    ("orphaned", 1): [("process 1 of 2 is gone: no sign", 75), ("", -9)],
    ("interrupted", 0): [("", 143), ("process 0 of 2 was stopped by its user;", 75)],
}
TAIL = "the last checkpoint of sums is of step 5: the same command with --resume goes on."


class End(NamedTuple):
    status: int
    out: str
    err: str
    time: float


def free_address() -> str:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def run(*arguments: str, attended: bool = True) -> End:
    # Attended from the start, it is spared the imports that are needed to read the flags.
    start = attendant.COMMAND if attended else (sys.executable,)
    command = [*start, "-m", JOB, "--distributed", *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            out, err = process.communicate(timeout=400)
        finally:
            process.kill()
    return End(process.returncode, out, err, time.time())


@pytest.fixture(scope="module")
def ends():
    """How the two processes of each case have ended."""
    with ThreadPoolExecutor(2 * len(CASES) + 4) as pool:
        started, address = {}, free_address()
        flags = [("--address", address, "--process", str(p), "--steps", "3") for p in range(2)]
        started["none", 0] = [pool.submit(run, *f, attended=False) for f in flags]
        address = free_address()
        flags = [("--address", address, "--process", str(p), "--event", "all mistaken") for p in range(2)]
        started["all mistaken", 0] = [pool.submit(run, *f) for f in flags]
        for event, culprit in CASES:
            address = free_address()
            # This limit is shortened, the others are the real ones.
            limit = ["--stuck-after", "20"] if event == "asleep" else []
            flags = [["--address", address, "--process", str(p), *limit] for p in range(2)]
            flags[culprit] += ["--event", event]
            started[event, culprit] = [pool.submit(run, *f) for f in flags]
        return {case: [future.result() for future in pair] for case, pair in started.items()}


@pytest.mark.parametrize("case", CASES, ids="{0[0]}-{0[1]}".format)
def test_both_end_soon_with_a_line_that_names_the_culprit(ends, case):
    event, culprit = case
    pair = ends[case]
    ((child, when),) = re.findall(rf"^(\d+) {event} at (.*)$", pair[culprit].out, re.MULTILINE)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)
    for process, (end, (words, status)) in enumerate(zip(pair, CASES[case], strict=True)):
        seconds = end.time - float(when)
        print(f"{event} {culprit}: process {process} ended after {seconds:.1f} s")
        assert end.status == status, end.err
        assert seconds < 60
        lines = end.err.splitlines()
        if status == 75:
            assert lines[-1].startswith(f"error: {words}")
            assert lines[-1].endswith(TAIL)
            # Nothing of what else was printed by then, but perhaps for whom it was waited.
            assert [line for line in lines[:-1] if not line.startswith("waiting for ")] == []
        assert "Gloo" not in end.out + end.err
    assert ("Traceback" in pair[culprit].err) == (event == "broken")


def test_a_mistake_and_an_interruption_have_their_own_words(ends):
    # On a busy machine it has waited for the other one before.
    assert ends["mistaken", 1][1].err.endswith("error: `--models` must name at least one, got none.\n")
    assert ends["interrupted", 0][0].err == "\nStopped.\n"
    assert ends["broken", 0][0].err.endswith("\nZeroDivisionError: division by zero\nin the second line\n")


def test_without_an_event_both_end_well(ends):
    assert [end[:3] for end in ends["none", 0]] == [(0, "sum 2.0\n", "")] * 2


def test_a_mistake_that_all_know_ends_both_alike_and_the_first_says_it(ends):
    first, other = ends["all mistaken", 0]
    assert (first.status, first.err) == (2, "error: `--models` must name at least one, got none.\n")
    assert (other.status, other.err) == (2, "")


def test_flags_are_read_before_anything_is_started():
    end = run("--rot", attended=False)
    assert (end.status, end.out) == (2, "")
    assert end.err.endswith(f"; see `python -m {JOB} --help`.\n")
