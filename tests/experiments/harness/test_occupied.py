"""One process per folder: another one is refused with who holds it, and a killed one leaves it free."""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments.harness import occupied
from experiments.harness.errors import UserError
from tests.sources import ROOT

CODE = """
import sys
from pathlib import Path
from experiments.harness import occupied
occupied.occupy("--out", Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
occupied.leave_all()
"""


@pytest.fixture(autouse=True)
def _free() -> Iterator[None]:
    yield
    occupied.leave_all()


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has taken the folder, and gives it back at the end of its input."""
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_several_threads_hold_a_deleted_folder(tmp_path: Path) -> None:
    """Each of several runs at once finds it deleted."""
    for number in range(20):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        occupied.occupy("--out", folder)
        shutil.rmtree(folder)
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(occupied.hold) for _ in range(4)]:
                done.result()
        assert (folder / ".running").exists()
        occupied.leave_all()


def test_a_second_process_is_told_who_has_it(other: "subprocess.Popen[str]", tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        occupied.occupy("--out", tmp_path)
    assert re.fullmatch(
        rf"`--out` must be a folder that no other run writes to, but {tmp_path} is in use by process {other.pid} on "
        r"\S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; wait for it, or name another one\.",
        str(raised.value),
    )


def test_what_is_given_back_leaves_nothing_behind(other: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert len(list(tmp_path.iterdir())) == 1
    other.communicate("")
    assert list(tmp_path.iterdir()) == []
    occupied.occupy("--out", tmp_path)


def test_a_killed_process_leaves_it_free(other: "subprocess.Popen[str]", tmp_path: Path) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    occupied.occupy("--out", tmp_path)
    occupied.occupy("--out", tmp_path)  # It has it already.
    occupied.leave_all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 990,
        b'{"process": "x"}',
        b'{"process": 1e999, "host": "a", "since": "b"}',
        b'{"process": 1, "host": "\\u001b[2J", "since": "b"}',
        b"\xff",
    ],
)
def test_a_holder_without_a_name_is_another_process(
    other: "subprocess.Popen[str]", tmp_path: Path, content: bytes
) -> None:
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match="is in use by another process; wait for it"):
        occupied.occupy("--out", tmp_path)


def test_a_file_that_its_holder_has_just_taken_away_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, left = fcntl.flock, iter(range(10))

    def flock_late(descriptor: int, operation: int) -> None:
        if next(left) == 0:
            (path,) = tmp_path.iterdir()
            path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    occupied.occupy("--out", tmp_path)
    (path,) = tmp_path.iterdir()
    with path.open() as file, pytest.raises(BlockingIOError):
        flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_file_is_taken_away_before_the_lock_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    occupied.occupy("--out", tmp_path)
    close, seen = os.close, []
    monkeypatch.setattr(os, "close", lambda descriptor: seen.append([*tmp_path.iterdir()]) or close(descriptor))
    occupied.leave_all()
    monkeypatch.undo()
    assert seen[-1] == []


def test_it_holds_on_nfs_too(other: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows locks only of what can be written."""
    flock = fcntl.flock

    def flock_of_nfs(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_of_nfs)
    with pytest.raises(UserError, match="is in use by process"):
        occupied.occupy("--out", tmp_path)


def test_two_folders_are_two_locks(other: "subprocess.Popen[str]", tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    occupied.occupy("--out", tmp_path / "inside")
