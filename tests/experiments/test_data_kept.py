"""The file of plain arrays that spares the next run the reading of 70,000 PNGs."""

from pathlib import Path

import numpy as np
import pytest
from test_data_loading import md5s, stand_in

from experiments.harness.data import Mnist, arrays, kept, load_kept


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path | None]:
    """Returns what `load_mnist` was called with; it returns a stand-in, which now counts as the official data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mnist, calls = stand_in(), []
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))

    def load(data_dir: Path | None = None, *, report: object) -> Mnist:
        calls.append(data_dir)
        return mnist

    monkeypatch.setattr(kept, "load_mnist", load)
    return calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "jaxbn" / "mnist.npz"


def assert_loads() -> None:
    lines: list[str] = []
    arrays.verify(load_kept(None, report=lines.append))
    assert lines == []


def test_the_second_run_reads_the_file(loads: list[Path | None], path: Path) -> None:
    for _ in range(3):
        assert_loads()
    assert len(loads) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [b"", b"PK no archive", "cut", "bit", "other", "member"])
def test_a_damaged_file_is_replaced(damage: bytes | str, loads: list[Path | None], path: Path) -> None:
    assert_loads()
    content = path.read_bytes()
    match damage:
        case bytes():
            path.write_bytes(damage)
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "bit":
            path.write_bytes(content[:400] + bytes([content[400] ^ 1]) + content[401:])
        case "other":
            mnist = stand_in()
            np.savez(path, **mnist._replace(test_labels=mnist.test_labels + 1)._asdict())
        case "member":
            np.savez(path, images=np.zeros(3))
    assert_loads()
    assert len(loads) == 2
    assert_loads()
    assert len(loads) == 2


def test_a_folder_that_is_named_is_read(loads: list[Path | None], path: Path) -> None:
    assert_loads()
    load_kept("named")
    assert loads == [None, "named"]


def test_without_a_cache_folder_the_data_are_loaded_and_it_is_said(loads: list[Path | None], path: Path) -> None:
    path.parent.parent.touch()
    lines: list[str] = []
    arrays.verify(load_kept(None, report=lines.append))
    assert lines == [
        f"MNIST is loaded, but could not be kept in {path} (Not a directory): name a writable folder with 60 MB "
        "of free space by XDG_CACHE_HOME, and the next run starts 3 s sooner."
    ]
