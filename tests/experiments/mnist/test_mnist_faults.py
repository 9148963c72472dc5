"""The main program on a disk that is full, read-only or gone: one line, and with --resume the bytes of a sound run."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import ROOT

pytestmark = pytest.mark.faults

JOB = ["-m", "tests.experiments.mnist.stand_in_job", "--models", "mlp-bn", "--steps", "12"]


def start(out: Path, *flags: str, pause: float = 0, patch: str = "", **environment: str) -> "subprocess.Popen[str]":
    """The program, after some code of a test's."""
    main = "import runpy; runpy.run_module('tests.experiments.mnist.stand_in_job', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", f"{patch}\n{main}", *JOB[2:], "--out", str(out), *flags]
    options = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PAUSE": str(pause)}
    return subprocess.Popen(
        command,
        env={**os.environ, **options, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(out: Path, *flags: str, **options: str) -> tuple[int, str, str]:
    process = start(out, *flags, **options)
    said = process.communicate(timeout=300)
    return process.returncode, *said


def is_one_line(said: tuple[int, str, str], words: str) -> None:
    status, out, error = said
    assert status == 2, said
    assert re.fullmatch(rf"error: [^\n]*{words}[^\n]*\n", error), error
    assert "Traceback" not in out


def metrics(out: Path) -> bytes:
    return (out / "mlp-bn" / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: None) -> bytes:
    """The metrics of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    assert run(out)[0] == 0
    return metrics(out)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("a tmpfs can't be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.parametrize("size", [4, 8, 16, *range(100, 1_600, 100), 3_000])
def test_a_disk_that_is_full_at_any_point(disk: Path, whole: bytes, size: int) -> None:
    remount(disk, f"size={size}k")
    said = run(disk)
    if said[0]:
        is_one_line(said, r"(could not be written|can be written)[^\n]*No space left on device[^\n]*another")
        remount(disk, "size=20m")
        # What lies there so far is either a run to go on with, or none.
        assert run(disk, "--resume")[0] == 0
    assert metrics(disk) == whole


def test_a_disk_that_becomes_read_only(disk: Path, whole: bytes) -> None:
    process = start(disk, pause=0.5)
    wait_for(disk / "mlp-bn")
    # For whatever is opened from now on.
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    remount(disk, "bind,ro")
    is_one_line((process.wait(300), *process.communicate()), "could not be written[^\n]*another --out")
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert run(disk, "--resume")[0] == 0
    assert metrics(disk) == whole


def test_a_folder_that_is_deleted_under_the_run_is_whole_at_the_end(tmp_path: Path, whole: bytes) -> None:
    process = start(tmp_path / "out", pause=0.5)
    wait_for(tmp_path / "out" / "mlp-bn")
    while (tmp_path / "out").exists():
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    said = process.communicate(timeout=300)
    assert (process.returncode, said[1]) == (0, "")
    assert metrics(tmp_path / "out") == whole
    assert run(tmp_path / "out", "--resume")[0] == 0
    assert metrics(tmp_path / "out") == whole


def test_a_clock_that_jumps(tmp_path: Path, whole: bytes) -> None:
    jumps = """
import itertools, time
clock, jumps = time.time, itertools.cycle([-86400, 0, 3e7, -3e8])
time.time = lambda: clock() + next(jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""
    assert run(tmp_path, patch=jumps)[0] == 0
    assert metrics(tmp_path) == whole


def test_a_standard_output_that_is_full_or_closed(tmp_path: Path, cache: None) -> None:
    for name, sink in (("full", "/dev/full"), ("closed", "&-")):
        process = subprocess.Popen(
            ["sh", "-c", f"exec {sys.executable} {' '.join(JOB)} --out {tmp_path / name} >{sink}"],
            cwd=ROOT,
            env={**os.environ, "PAUSE": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, error = process.communicate(timeout=300)
        if name == "full":
            is_one_line((process.returncode, "", error), r"standard output could not be written \(No space left on")
        else:
            assert (process.returncode, error) == (0, "")


def test_a_reader_who_leaves(tmp_path: Path, cache: None) -> None:
    with start(tmp_path / "out", pause=0.3) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    is_one_line((process.returncode, "", error), r"standard output could not be written \(Broken pipe\)")


def wait_for(path: Path) -> None:
    for _ in range(6_000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(f"{path} has not come")
