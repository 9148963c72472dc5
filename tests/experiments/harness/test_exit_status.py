"""How a program ends: its status, and what it says."""

import dataclasses
import re
import signal
import subprocess
import sys

import pytest

from experiments.harness import program, stopping
from experiments.harness.errors import UserError
from experiments.harness.progress import Stopped
from experiments.mnist import __main__ as mnist
from experiments.studies.depth import __main__ as depth
from tests.sources import ROOT


@dataclasses.dataclass(frozen=True)
class Brief:
    seeds: int = 1
    """How many."""


@dataclasses.dataclass(frozen=True)
class Resumable:
    resume: bool = False
    """Whether to go on."""


ON = "python -m test_exit_status --resume\n"


@pytest.mark.parametrize(
    ("config_class", "words"),
    [(Brief, "\nStopped.\n"), (Resumable, f"\nStopped. What was finished is kept; to go on: {ON}")],
)
def test_after_ctrl_c_only_what_can_be_resumed_is_said_to_be(config_class, words, capsys):
    def work(*_):
        raise KeyboardInterrupt

    assert program.run(config_class, [], work) == 130
    assert capsys.readouterr().err.endswith(words)


@pytest.mark.parametrize("error", [UserError("it is refused"), None])
def test_a_signal_while_the_program_ends_is_no_traceback(error, monkeypatch):
    def work(*_):
        if error:
            raise error

    def interrupted(*_, **__):
        monkeypatch.setattr(stopping, "_asked", signal.SIGTERM)
        raise stopping.Interrupted

    monkeypatch.setattr(program, "say" if error else "_run", interrupted)
    assert program.run(Brief, [], work) == 143


@pytest.mark.parametrize("error", [UserError("standard output could not be written"), Stopped()])
def test_what_fails_after_a_signal_is_not_the_reason(error, monkeypatch, capsys):
    def work(*_):
        raise error

    monkeypatch.setattr(stopping, "_asked", signal.SIGHUP)
    assert program.run(Brief, [], work) == 129
    assert capsys.readouterr().err == "\nStopped.\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nat"), "RES.*ry"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (ImportError("x.so: failed to map segment from shared object"), "x.so: failed to map segment.*"),
    ],
)
def test_without_memory_there_is_one_line(error, words, capsys):
    def work(*_):
        raise error

    assert program.run(Brief, [], work) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(rf"error: memory ran out \({words}\); free some, or ask for less, as by --seeds\.\n", said), (
        said
    )


def test_the_help_is_the_docstring_of_the_program_under_its_name(capsys):
    for call in (mnist.main, depth.main):
        with pytest.raises(SystemExit):
            call(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m experiments.mnist [" in said
    assert "usage: python -m experiments.studies.depth [" in said
    assert depth.__doc__.split("?")[0] in said


@pytest.mark.slow
def test_a_program_that_is_run_knows_its_name():
    command = [sys.executable, "-m", "experiments.docs", "--rot", "x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("; see `python -m experiments.docs --help`.\n")


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["> /dev/full", "| true"])
def test_help_that_nobody_reads_ends_in_one_line(sink: str) -> None:
    command = f"exec 3>&2; {{ {sys.executable} -m experiments.docs --help 2>&3; echo $? >&3; }} {sink}"
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT).stderr
    assert re.fullmatch(r"error: standard output could not be written \(.*\); send it elsewhere\.\n2\n", said), said


@pytest.mark.parametrize("status", [0, 2, 130, 143])
def test_a_program_ends_with_its_status_and_all_that_it_said(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # With it nothing would wait to be written.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = f"import sys; from experiments.harness import program; print('said'); program.leave({status})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (status, "said\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_end_changes_nothing(number: int) -> None:
    code = (
        "import atexit, signal; from experiments.harness import program, stopping; stopping.begin('');"
        f"atexit.register(signal.raise_signal, {number:d}); program.leave(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_leaves_at_once() -> None:
    # Whatever waits for the interpreter's end, such as threads at work, must not be waited for.
    code = "import atexit; from experiments.harness import program; atexit.register(print, 'late'); program.leave({})"
    commands = [[sys.executable, "-c", code.format(status)] for status in (0, 130)]
    said = [subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout for command in commands]
    assert said == ["late\n", ""]
