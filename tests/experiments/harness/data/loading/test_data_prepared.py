"""The prepared data set: what it holds, and that a damaged or half written one is never trusted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.harness.data import Mnist, arrays, load_mnist, tfds_writer
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from tests.experiments.harness.data.data_stand_in import (
    TEST_SHARD,
    TRAIN_SHARD,
    assert_same,
    flip,
    ignore,
    md5s,
    refuse,
)
from tests.experiments.harness.data.prepared import write
from tests.sources import ROOT


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


def test_official_files_beside_a_damaged_data_set_are_read(mnist: Mnist, folder: Path) -> None:
    tfds_writer.prepare(mnist, folder, replace=False)
    (folder / FOLDER / TEST_SHARD).unlink()
    assert_same(load_mnist(folder, ignore), mnist)
    assert_same(read_prepared(folder), mnist)


def test_a_data_set_of_other_images_is_damaged(mnist: Mnist, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = mnist._replace(train_images=mnist.train_images[::-1])
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "MD5", md5s(other))
        tfds_writer.prepare(other, data_dir, replace=False)
    with pytest.raises(DamagedDataError, match=r"`train_images` of shape \[60, 28, 28\] has MD5"):
        read_prepared(data_dir)


def test_a_data_set_in_tfrecord_is_read(mnist: Mnist, data_dir: Path) -> None:
    tfds_writer.prepare(mnist, data_dir, replace=False)
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder("mnist:3.0.1", data_dir=data_dir)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split, shard in (("train", TRAIN_SHARD), ("test", TEST_SHARD)):
        source = builder.as_data_source(split, deserialize_method=raw)
        records = source.__getitems__(range(len(source)))
        write(data_dir / FOLDER / shard.replace("array_record", "tfrecord"), records)
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
    usual = tfds_writer._write
    monkeypatch.setattr(
        tfds_writer,
        "_write",
        lambda mnist, path: (usual(mnist, path), flip(path / FOLDER / TRAIN_SHARD, 30_000)),
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
    run = subprocess.run([sys.executable, "-c", program, str(data_dir)], cwd=ROOT, check=False)
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
