"""The file of plain bytes that spares the next run the reading of 70,000 PNGs."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments.harness.data import Mnist, arrays, idx, kept, load_kept
from tests.experiments.harness.data.data_stand_in import flip, little_memory, md5s, stand_in


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
    return tmp_path / "cache" / "jaxbn" / "mnist.idx"


def load_and_verify() -> list[str]:
    """Returns what was reported."""
    lines: list[str] = []
    arrays.verify(load_kept(None, report=lines.append))
    return lines


def test_the_second_run_reads_the_file(loads: list[Path | None], path: Path) -> None:
    assert [load_and_verify() for _ in range(3)] == [["loading"], [], []]
    assert len(loads) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by one": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a bit": lambda path: flip(path, 400),
    "a header": lambda path: path.write_bytes(path.read_bytes().replace(b"\0\0\x08\x03", b"\0\0\x08\x04")),
    "no idx": lambda path: path.write_bytes(b"PK no idx file"),
    "other data": lambda path: path.write_bytes(b"".join(map(idx.encode, reversed(stand_in())))),
    "one array": lambda path: path.write_bytes(idx.encode(stand_in().train_images)),
    # Not one byte of them is read.
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "100 GB": lambda path: os.truncate(path, 100 * 10**9),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(damage: str, loads: list[Path | None], path: Path) -> None:
    load_and_verify()
    content = path.read_bytes()
    DAMAGES[damage](path)
    assert [load_and_verify() for _ in range(2)] == [["loading"], []]
    assert len(loads) == 2
    assert path.read_bytes() == content
    assert path.is_file()
    assert not path.is_symlink()


def test_a_shape_of_an_exabyte_costs_no_memory(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes.fromhex("00000803" + 3 * "00100000"))
    with little_memory(16):
        assert load_and_verify() == ["loading"]


def test_a_folder_that_is_named_is_read(loads: list[Path | None], path: Path) -> None:
    load_and_verify()
    load_kept("named")
    assert loads == [None, "named"]


def test_it_is_written_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full_disk(partial: Path, content: bytes) -> None:
        write(partial, content[:4])
        assert path.read_bytes() == b"damaged"
        raise OSError(errno.ENOSPC, "No space left on device")

    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        lines = load_and_verify()
    assert list(path.parent.iterdir()) == [path]
    assert lines[1:] == [
        f"MNIST is loaded, but could not be kept in {path} (No space left on device): name a writable folder with "
        "60 MB of free space by XDG_CACHE_HOME, and the next run starts 3 s sooner."
    ]
    assert [load_and_verify() for _ in range(2)] == [["loading"], []]
    assert list(path.parent.iterdir()) == [path]


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
