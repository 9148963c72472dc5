"""Folders that someone has prepared to do harm: no memory beyond a bound, no waiting, no code, nothing outside."""

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import Mnist, arrays, decoding, load_mnist, tfds_reader, tfds_writer
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.registry import NAMES, OfficialFile
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from experiments.harness.errors import UserError
from tests.experiments.harness.data.data_stand_in import assert_same, little_memory, md5s, stand_in
from tests.experiments.harness.data.prepared import example, png, prepare_as_tfrecord, write

HUGE = 100 * 10**9
INFO = "dataset_info.json"
SHARD = "mnist-train.tfrecord-00000-of-00001"


@pytest.fixture(autouse=True)
def mnist(monkeypatch: pytest.MonkeyPatch) -> Mnist:
    """Returns the stand-in, which now counts as the official data."""
    mnist = stand_in()
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))
    return mnist


@pytest.fixture
def prepared(mnist: Mnist, tmp_path: Path) -> Path:
    """Returns a TFDS data directory with TFRecord shards."""
    prepare_as_tfrecord(mnist, tmp_path / "tfds")
    return tmp_path / "tfds"


def test_what_the_others_are_made_of_is_read(mnist: Mnist, prepared: Path) -> None:
    assert_same(read_prepared(prepared), mnist)


def large(path: Path) -> None:
    os.truncate(path, HUGE)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def silent(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_format(name: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text().replace("tfrecord", name))


HOSTILE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a shard of 100 GB": (SHARD, large, "it has 100,000,000,000 bytes, more than 67,108,864"),
    "a shard without an end": (SHARD, endless, "not a regular file"),
    "a shard that waits for its other end": (SHARD, silent, "not a regular file"),
    "a record of 2^63 bytes": (SHARD, lambda path: path.write_bytes(b"\xff" * 8 + bytes(100)), "ends inside a record"),
    "four million records": (SHARD, lambda path: os.truncate(path, 1 << 26), "images, expected at most 60,000"),
    "an image of 100 million pixels": (
        SHARD,
        lambda path: write(path, [example(png((10_000, 10_000), np.zeros((9, 9), np.uint8)), 0)]),
        "an image of train has 10000 x 10000 pixels",
    ),
    "an info of 100 GB": (INFO, large, "it has 100,000,000,000 bytes, more than 16,777,216"),
    "an info without an end": (INFO, endless, "not a regular file"),
    "an info that waits for its other end": (INFO, silent, "not a regular file"),
    "an info too deep for the parser": (INFO, lambda path: path.write_text("[" * 10**5), "RecursionError"),
    "a million shards": (INFO, lambda path: path.write_text(path.read_text().replace('"60"', '"60"' + ', ""' * 10**6)),
        r"No such file.*00000-of-1000001"),
    "another folder": (INFO, with_format("../../../tfrecord"), "KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_data_set_is_damaged(case: str, prepared: Path) -> None:
    name, spoil, reason = HOSTILE[case]
    spoil(prepared / FOLDER / name)
    with little_memory(256), pytest.raises(DamagedDataError, match=reason):
        read_prepared(prepared)


def test_no_module_is_imported_that_a_data_set_names(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jaxbn_hostile.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (prepared / FOLDER / "features.json").write_text('{"type": "jaxbn_hostile.Features", "content": {}}')
    read_prepared(prepared)
    assert "jaxbn_hostile" not in sys.modules


def test_all_shards_of_a_split_have_one_bound(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, info = (prepared / FOLDER / SHARD).read_bytes(), prepared / FOLDER / INFO
    for number in range(2):
        (prepared / FOLDER / f"mnist-train.tfrecord-0000{number}-of-00002").write_bytes(content)
    info.write_text(info.read_text().replace('"60"', '"60", "60"'))
    monkeypatch.setattr(tfds_reader, "MOST_BYTES", len(content) + 10)
    with pytest.raises(DamagedDataError, match=f"it has {len(content):,} bytes, more than 10"):
        read_prepared(prepared)


def test_what_a_link_leads_to_is_left_alone(mnist: Mnist, prepared: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (prepared / FOLDER).rename(victim)
    before = {path.name: path.read_bytes() for path in victim.iterdir()}
    (prepared / FOLDER).symlink_to(victim)
    tfds_writer.prepare(mnist, prepared, replace=True)
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == before
    assert not (prepared / FOLDER).is_symlink()
    read_prepared(prepared)


@pytest.mark.parametrize(
    ("lay", "reason"),
    [(large, "it has 100,000,000,000 bytes, more than"), (endless, "not a regular file"), (silent, "not a regular")],
)
def test_official_files_of_another_kind_are_not_read(
    lay: Callable[[Path], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / NAMES[0]).touch()
    lay(tmp_path / NAMES[0])
    with little_memory(64), pytest.raises(UserError, match=rf"the file {NAMES[0]} cannot be read \({reason}.*: mend"):
        load_mnist(tmp_path)


def test_an_official_file_is_not_unpacked_before_its_checksum_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte may become a gigabyte."""
    content = gzip.compress(bytes(1000))
    file = OfficialFile(NAMES[0], "", len(content), "0" * 64)
    monkeypatch.setattr(decoding, "official_files", lambda: [file])
    monkeypatch.setattr(gzip, "decompress", lambda _: pytest.fail("it was unpacked"))
    with pytest.raises(DamagedDataError, match="has SHA-256"):
        decoding.read_official(lambda _: content)
