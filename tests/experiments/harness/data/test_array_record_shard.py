"""Shards of array_record: their records, and those that someone has made to do harm."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from experiments.harness.data import array_record_shard
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.errors import UserError

RECORDS = [b"one", b"", bytes(range(256)) * 300]


def written(folder: Path, records: Iterable[bytes]) -> Path:
    path = folder / "shard.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1000")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def test_all_records_come_in_their_order(tmp_path: Path) -> None:
    assert array_record_shard.records(written(tmp_path, RECORDS), 3, 100_000) == RECORDS


def test_no_module_is_imported_that_lies_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "struct.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.chdir(tmp_path)
    assert array_record_shard.records(written(tmp_path, RECORDS), 3, 100_000) == RECORDS


@pytest.mark.parametrize(
    ("most", "reason"),
    [
        ((2, 100_000), "it has 3 images, expected at most 2"),
        ((3, 70_000), "its images have more than 70,000 bytes"),
    ],
)
def test_more_than_may_be_is_damage(tmp_path: Path, most: tuple[int, int], reason: str) -> None:
    with pytest.raises(DamagedDataError, match=rf"^shard\.array_record can't be unpacked \({reason}\)$"):
        array_record_shard.records(written(tmp_path, RECORDS), *most)


@pytest.mark.slow
def test_a_gigabyte_in_a_few_kilobytes_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, [bytes(1 << 25)] * 36)
    assert path.stat().st_size < 1 << 18
    # By the child's own limit: this process has none here that it could inherit.
    with pytest.raises(DamagedDataError, match=r"can't be unpacked \(.*bad_alloc.*\)$"):
        array_record_shard.records(path, 36, 1 << 26)


def test_what_is_no_shard_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "shard.array_record"
    path.write_bytes(b"no shard" * 10_000)
    with pytest.raises(DamagedDataError, match=r"^shard\.array_record can't be unpacked \(.+\)$"):
        array_record_shard.records(path, 3, 100_000)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(100)", r"within 0\.5 s; name other data"),
        ("import os; os.kill(os.getpid(), 9)", r"\(status -9\); free memory, or name other data"),
        ("import no_such_library", r"\(ModuleNotFoundError: No module named 'no_such_library'\); free"),
    ],
    ids=["for ever", "killed", "no library"],
)
def test_what_has_not_been_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """Or a good data set would be replaced."""
    monkeypatch.setattr(array_record_shard, "_PROGRAM", program)
    monkeypatch.setattr(array_record_shard, "SECONDS", 0.5 if "sleep" in program else 60)
    with pytest.raises(UserError, match=rf"^{tmp_path / 'x'} could not be unpacked {reason}.* by --data-dir\.$"):
        array_record_shard.records(tmp_path / "x", 3, 100)
