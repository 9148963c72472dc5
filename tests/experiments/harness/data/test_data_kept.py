"""The file of plain arrays that spares the next run the reading of 70,000 PNGs."""

import errno
import os
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from experiments.harness.data import Mnist, arrays, kept, load_kept
from tests.experiments.harness.data.data_stand_in import md5s, stand_in


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path | None]:
    """Returns what `load_mnist` was called with; it returns a stand-in, which now counts as the official data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mnist, calls = stand_in(), []
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))

    def load(data_dir: Path | None = None, *, report: Callable[[str], None]) -> Mnist:
        calls.append(data_dir)
        report("loading")
        return mnist

    monkeypatch.setattr(kept, "load_mnist", load)
    return calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "jaxbn" / "mnist.npz"


class _Unread:
    """What must not be unpickled."""

    def __reduce__(self) -> object:
        return pytest.fail, ("a pickle was read",)


def load_and_verify() -> list[str]:
    """Returns what was reported."""
    lines: list[str] = []
    arrays.verify(load_kept(None, report=lines.append))
    return lines


def test_the_second_run_reads_the_file(loads: list[Path | None], path: Path) -> None:
    assert [load_and_verify() for _ in range(3)] == [["loading"], [], []]
    assert len(loads) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


DAMAGES = [b"", b"PK no archive", "cut", "bit", "encrypted", "header", "other", "member", "raw member", "pickle"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(damage: bytes | str, loads: list[Path | None], path: Path) -> None:
    load_and_verify()
    content, mnist = path.read_bytes(), stand_in()
    match damage:
        case bytes():
            path.write_bytes(damage)
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "bit":
            path.write_bytes(content[:400] + bytes([content[400] ^ 1]) + content[401:])
        case "encrypted":  # Says a flag of the first entry of the directory.
            flag = content.index(b"PK\x01\x02") + 8
            path.write_bytes(content[:flag] + bytes([content[flag] ^ 1]) + content[flag + 1 :])
        case "header":
            path.write_bytes(content.replace(b"{'descr'", b"{'d\"scr'"))
        case "other":
            np.savez(path, **mnist._replace(test_labels=mnist.test_labels + 1)._asdict())
        case "member":
            np.savez(path, images=np.zeros(3))
        case "raw member":
            with zipfile.ZipFile(path, "w") as archive:
                for name in Mnist._fields:
                    archive.writestr(name, b"no array")
        case "pickle":
            unread = np.array([_Unread(), None])
            np.savez(path, allow_pickle=True, **mnist._replace(test_labels=unread)._asdict())
    assert [load_and_verify() for _ in range(2)] == [["loading"], []]
    assert len(loads) == 2


def test_a_folder_that_is_named_is_read(loads: list[Path | None], path: Path) -> None:
    load_and_verify()
    load_kept("named")
    assert loads == [None, "named"]


def test_it_is_written_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(file: BinaryIO, **_: np.ndarray) -> None:
        file.write(b"half")
        assert path.read_bytes() == b"damaged"
        raise OSError(errno.ENOSPC, "No space left on device")

    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full_disk)
        lines = load_and_verify()
    assert list(path.parent.iterdir()) == [path]
    assert lines[1:] == [
        f"MNIST is loaded, but could not be kept in {path} (No space left on device): name a writable folder with "
        "60 MB of free space by XDG_CACHE_HOME, and the next run starts 3 s sooner."
    ]
    # A process that was killed leaves its part, which the next one overwrites.
    (path.parent / f"incomplete.{path.name}").write_bytes(b"half")
    assert [load_and_verify() for _ in range(2)] == [["loading"], []]
    assert list(path.parent.iterdir()) == [path]


def test_another_process_may_be_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(partial: Path, target: Path) -> None:
        os.replace(partial, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "replace", taken)
    assert [load_and_verify() for _ in range(2)] == [["loading"], []]


def test_two_that_start_at_once_leave_a_whole_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, load = threading.Barrier(2, timeout=60), kept.load_mnist

    def load_together(*args: object, **options: Callable[[str], None]) -> Mnist:
        mnist = load(*args, **options)
        meeting.wait()
        return mnist

    for _ in range(20):
        with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
            patch.setattr(kept, "load_mnist", load_together)
            both = [pool.submit(load_and_verify) for _ in range(2)]
            assert [of_one.result() for of_one in both] == [["loading"], ["loading"]]
        assert list(path.parent.iterdir()) == [path]
        assert load_and_verify() == []
        path.unlink()


def test_without_a_cache_folder_the_data_are_loaded_and_it_is_said(path: Path) -> None:
    path.parent.parent.touch()
    assert load_and_verify()[1:] == [
        f"MNIST is loaded, but could not be kept in {path} (Not a directory): name a writable folder with 60 MB "
        "of free space by XDG_CACHE_HOME, and the next run starts 3 s sooner."
    ]
