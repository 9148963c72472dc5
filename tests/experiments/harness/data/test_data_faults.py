"""Disks that are full, folders that can't be written or vanish: the data are loaded all the same, and one line says so.

Nothing of TFDS or of the C++ below it reaches the terminal.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import Mnist, arrays, kept, load_kept, load_mnist, loading, tfds_writer
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from tests.experiments.harness.data.data_stand_in import assert_same, md5s, stand_in
from tests.sources import ROOT

FULL = "No space left on device"


@pytest.fixture(autouse=True)
def mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mnist:
    """Returns the stand-in, which now counts as the official data and comes from the official download."""
    mnist = stand_in()
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))
    monkeypatch.setattr(loading, "download_official", lambda: mnist)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXBN_MNIST_DIR", raising=False)
    return mnist


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Yields what makes an empty disk of a size, in place of the one before."""
    place = tmp_path / "disk"
    place.mkdir()

    def make(*options: str) -> Path:
        if place.is_mount():
            subprocess.run(["umount", place], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", place], check=True)
        return place

    try:
        make("size=4k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield make
    subprocess.run(["umount", place], check=True)


def load(source: Callable[..., Mnist] = load_mnist) -> list[str]:
    """Loads the data, which must be the right ones, and returns what was reported but for the source tried."""
    lines: list[str] = []
    assert_same(source(None, report=lines.append), stand_in())
    assert not any("\n" in line for line in lines)
    return [line for line in lines if not line.startswith("MNIST: trying ")]


def not_kept(place: Path, reason: str) -> str:
    return (
        f"MNIST is loaded, but could not be kept in {place} ({reason}): name a writable folder with 100 MB of free "
        "space by TFDS_DATA_DIR, or every run will fetch it again."
    )


def assert_kept_whole_or_not_at_all(folder: Path, lines: list[str]) -> None:
    if lines == [f"MNIST is prepared in {folder / FOLDER}."]:
        read_prepared(folder)
    else:
        assert lines == [not_kept(folder / FOLDER, FULL)]
        assert [path for path in folder.rglob("*") if path.name != "mnist"] == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = disk("size=100k") / "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    lines = load()
    assert lines == [not_kept(folder / FOLDER, FULL)]
    assert_kept_whole_or_not_at_all(folder, lines)
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
def test_a_disk_that_is_full_anywhere(
    disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the bytes end, and where the number of files does."""
    seen = set()
    options = [f"size={kilobytes}k" for kilobytes in range(4, 300, 8)] + [
        f"nr_inodes={files}" for files in range(2, 20)
    ]
    for option in options:
        folder = disk(option) / "tfds"
        monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
        lines = load()
        assert_kept_whole_or_not_at_all(folder, lines)
        seen.add(lines[0].split()[2])
    assert seen == {"prepared", "loaded,"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
def test_a_disk_that_is_full_where_the_plain_file_is_kept(
    disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = set()
    for option in [f"size={kilobytes}k" for kilobytes in range(4, 80, 4)] + [
        f"nr_inodes={files}" for files in (1, 2, 3)
    ]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(disk(option)))
        path = kept.cache_folder() / "mnist.idx"
        lines = [line for line in load(load_kept) if "XDG_CACHE_HOME" in line]
        if lines:
            assert re.fullmatch(rf"MNIST is loaded, but .* {path} \({FULL}\): .* by XDG_CACHE_HOME, .*", *lines)
            assert list(path.parent.glob("*")) == []
        else:
            assert load(load_kept) == []
            assert list(path.parent.iterdir()) == [path]
        seen.add(len(lines))
    assert seen == {0, 1}
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
def test_a_read_only_disk_is_one_line_for_each_folder(
    disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = disk("size=1m", "ro")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    lines = load(load_kept)
    assert lines[0] == not_kept(folder / "tfds" / FOLDER, "Read-only file system")
    assert re.fullmatch(r"MNIST is loaded, but .* \(Read-only file system\): .* by XDG_CACHE_HOME, .*", lines[1])
    assert len(lines) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["an example", "the last example", "before it is read back", "before it is renamed"])
def test_a_folder_that_is_deleted_meanwhile(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    examples = tfds_writer._examples

    def vanish(images: np.ndarray, labels: np.ndarray) -> Iterator[object]:
        for index, each in enumerate(examples(images, labels)):
            if len(labels) == 60 and index == {"an example": 5, "the last example": 59}.get(moment):
                shutil.rmtree(tmp_path / "tfds")
            yield each

    def read_back(folder: Path) -> None:
        if moment == "before it is renamed":
            read_prepared(folder)
        shutil.rmtree(tmp_path / "tfds")
        if moment == "before it is read back":
            read_prepared(folder)

    monkeypatch.setattr(tfds_writer, "_examples", vanish)
    if moment.startswith("before"):
        monkeypatch.setattr(tfds_writer, "read_prepared", read_back)
    (line,) = load()
    assert line.startswith(not_kept(tmp_path / "tfds" / FOLDER, "").partition("(")[0])
    assert "No such file or directory" in line
    assert not (tmp_path / "tfds").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
def test_a_process_of_its_own_says_no_more(disk: Callable[..., Path]) -> None:
    """What libraries write when they are loaded or unloaded is seen here too."""
    program = (
        "import sys, pathlib\n"
        "from experiments.harness.data import arrays, loading\n"
        "from tests.experiments.harness.data.data_stand_in import md5s, stand_in\n"
        "arrays.MD5.update(md5s(stand_in()))\n"
        "loading._keep(stand_in(), pathlib.Path(sys.argv[1]), damaged=False, report=print)\n"
    )
    folder = disk("size=100k") / "tfds"
    run = subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, not_kept(folder / FOLDER, FULL) + "\n", "")


def test_no_folder_is_left_where_temporary_files_are_made(
    mnist: Mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every builder of TFDS would leave one."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert load() == [f"MNIST is prepared in {tmp_path / 'tfds' / FOLDER}."]
    assert load() == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert tempfile.tempdir == str(tmp_path / "tmp")
