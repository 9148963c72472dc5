"""The main program is asked to end at any moment: one line, its status, a terminal as before, and nothing lost."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.sources import ROOT

STEPS, EVERY = 40, 10
# As `python -m` begins, with a word when it listens: before that, no line of ours has run.
CODE = """
import contextlib, fcntl, termios
from experiments.harness import stopping
with contextlib.suppress(OSError):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Where there is a terminal, it is ours.
stopping.attend()
print("listening", flush=True)
import runpy
runpy.run_module("tests.experiments.mnist.stand_in_job", run_name="__main__", alter_sys=True)
"""
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LINE = r"Stopped\. (Nothing was begun yet\.|What was finished is kept; to go on: python -m \S+ .* --resume)"


class End(NamedTuple):
    status: int
    out: str
    said: str
    seconds: float


def command(out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-c", CODE, "--models", "mlp-bn", "--steps", str(STEPS), "--out", str(out), *flags]


def environment(out: Path, pause: float = 0) -> dict[str, str]:
    own = {
        "PAUSE": str(pause),
        "EVALUATE_EVERY": str(EVERY),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
        "TERM": "xterm",
    }
    return {**os.environ, **own}


def piped(out: Path, number: int, moment: float, after: str = "listening", pause: float = 0.3) -> End:
    """Send a signal at a moment after this word."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command(out), env=environment(out, pause), **options) as process:
        assert process.stdout is not None
        while after not in (line := process.stdout.readline()):
            assert line, process.communicate()
        time.sleep(moment)
        begun = time.monotonic()
        process.send_signal(number)
        said = process.communicate(timeout=100)
    return End(process.returncode, *said, time.monotonic() - begun)


def on_a_terminal(out: Path, number: int, moment: float, after: str = "listening", pause: float = 0.3) -> End:
    """The same, with Ctrl-C and the end of the terminal itself in the place of those signals."""
    terminal, end = pty.openpty()
    options: dict[str, Any] = {**dict.fromkeys(("stdin", "stdout", "stderr"), end), "start_new_session": True}
    process = subprocess.Popen(command(out), env=environment(out, pause), cwd=ROOT, **options)
    os.close(end)
    said = read(terminal, after)
    said += read(terminal, seconds=moment)
    begun = time.monotonic()
    match number:
        case signal.SIGINT:
            os.write(terminal, b"\x03")
        case signal.SIGHUP:
            os.close(terminal)
        case _:
            process.send_signal(number)
    if number != signal.SIGHUP:
        said += read(terminal, seconds=100)
        os.close(terminal)
    return End(process.wait(100), "", said.replace("\r\n", "\n"), time.monotonic() - begun)


def read(terminal: int, until: str = "", seconds: float = 100) -> str:
    """What comes on a terminal: up to a word, or for so long, or to its end."""
    said, deadline = b"", time.monotonic() + seconds
    while not (until and until in said.decode(errors="replace")) and time.monotonic() < deadline:
        if select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            with contextlib.suppress(OSError):
                if more := os.read(terminal, 1 << 16):
                    said += more
                    continue
            break
    return said.decode(errors="replace")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run, beside the programs that it has compiled."""
    out = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run(command(out), env=environment(out), cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture
def compiled(whole: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a place for a run that finds those programs; a copy, for JAX writes into it."""

    def place(name: str) -> Path:
        shutil.copytree(whole.parent / "cache", tmp_path / name / "cache")
        return tmp_path / name / "out"

    return place


def check(end: End, number: int, terminal: bool) -> None:
    if end.status == 0:  # It was faster than the signal.
        return
    assert end.status == 128 + number, end
    assert end.seconds < 40, end  # Promised are 10 s, to a machine that is not busy.
    assert "Traceback" not in end.said
    if terminal and number == signal.SIGHUP:
        return
    assert re.fullmatch(LINE, end.said.strip().splitlines()[-1].removeprefix("\x1b[?25h")), end.said
    if terminal:
        # The cursor is shown, whatever hid it.
        assert end.said.rfind("\x1b[?25h") >= end.said.rfind("\x1b[?25l")
    else:
        assert len(end.said.strip().splitlines()) == 1


def goes_on(out: Path, whole: Path) -> int:
    """To the results of the undisturbed run; returns the step where it was."""
    done = subprocess.run(command(out, "--resume"), env=environment(out), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    metrics, expected = ((folder / "mlp-bn" / "metrics.jsonl").read_bytes() for folder in (out, whole))
    assert metrics == expected
    step = re.search(r"going on from step (\d+)\n", done.stdout)
    return int(step[1]) if step else 0


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_that_is_asked_to_end_keeps_its_last_dispatch(whole: Path, compiled: Any, number: int) -> None:
    out = compiled("run")
    terminal = number == signal.SIGINT
    end = (on_a_terminal if terminal else piped)(out, number, 0, after="parameters, ", pause=1)
    check(end, number, terminal)
    # Before its first evaluation.
    assert 0 < goes_on(out, whole) < EVERY


@pytest.mark.faults
@pytest.mark.parametrize("run", [piped, on_a_terminal])
@pytest.mark.parametrize("number", NUMBERS)
def test_at_twenty_moments(whole: Path, compiled: Any, number: int, run: Any) -> None:
    def at(i: int, moment: float) -> tuple[float, int, float, bool]:
        out = compiled(f"{i}")
        end = run(out, number, moment)
        check(end, number, run is on_a_terminal)
        kept = (out / "mlp-bn").exists()
        if i % 5 == 4:
            goes_on(out, whole)
        return round(moment, 1), end.status, round(end.seconds, 1), kept

    # Most of the time they wait.
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(at, range(20), np.linspace(0, 6, 20).tolist()))
    print(*ends, sep="\n")


@pytest.mark.faults
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        command(out), env=environment(out, 0.3), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(8)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, said = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert len(said.strip().splitlines()) == 1
    assert time.monotonic() - begun < 5
