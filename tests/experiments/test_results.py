"""Result files: whole or not at all, and said in one line where they can't be read."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.harness import results
from experiments.harness.errors import UserError

RECORDS = [{"step": 1, "seed": 0, "acc": 0.1}, {"step": 1, "seed": 1, "acc": 1 / 3}]


def test_json_comes_back_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    results.write_json(path, {"mean": [0.1, 2], "name": "Jörg"})
    assert results.read_json(path) == {"mean": [0.1, 2], "name": "Jörg"}
    assert path.read_text().endswith("}\n")
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_records_come_back_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    results.write_records(path, RECORDS)
    assert results.read_records(path) == RECORDS
    assert [json.loads(line) for line in path.read_text().splitlines()] == RECORDS


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    assert results.read_json(tmp_path / "no.json") is None
    assert results.read_records(tmp_path / "no.jsonl") == []


@pytest.mark.parametrize("stage", ["write_text", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    path = tmp_path / "summary.md"
    results.write_text(path, "old")
    write = Path.write_text

    def fail(self: Path, *args: Any, **options: Any) -> None:
        if stage == "write_text":
            write(self, "half a fi")
        raise error

    monkeypatch.setattr(Path, stage, fail)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        results.write_text(path, "new and longer")
    if expected is UserError:
        assert str(raised.value) == (
            f"{path} could not be written (No space left on device); make room there, or name another --out."
        )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    results.write_text(path, "old")
    seen = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        seen.append((self.read_text(), path.read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    results.write_text(path, "new")
    assert seen == [("new", "old")]
    assert path.read_text() == "new"


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b'{"a": 1}\n{"a": 2}'])
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(path))} is not JSON \(.+\); delete it, or .* --out\.$"
    ) as raised:
        results.read_json(path)
    assert "\n" not in str(raised.value)


def test_what_are_no_records_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st')
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is not JSON lines \(.+\); delete its folder, or"):
        results.read_records(path)


@pytest.mark.parametrize("read", [results.read_json, results.read_records])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, read: Any) -> None:
    with pytest.raises(UserError, match=r"could not be read \(Is a directory\); delete it, or name another --out\.$"):
        read(tmp_path)


def test_an_evaluation_gives_a_record_for_every_seed() -> None:
    metrics = {"acc": np.array([0.25, 0.5], np.float32), "loss": np.array([1.0, 2.0])}
    assert results.to_records(7, [3, 9], metrics) == [
        {"step": 7, "seed": 3, "acc": 0.25, "loss": 1.0},
        {"step": 7, "seed": 9, "acc": 0.5, "loss": 2.0},
    ]
    assert json.loads(json.dumps(results.to_records(7, [3], metrics))) == results.to_records(7, [3], metrics)


def test_a_markdown_table() -> None:
    assert results.markdown_table(["run", "acc"], [["mlp", "0.9"], ["conv", "0.8"]]) == (
        "| run | acc |\n| --- | ---: |\n| mlp | 0.9 |\n| conv | 0.8 |"
    )


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([0.98534], 4, "0.9853"),
        ([0.98534], 2, "0.99"),
        ([1.0, 2.0, 3.0], 4, "2.0000 ± 1.0000"),
        ([0.25, 0.75], 3, "0.500 ± 0.354"),
    ],
)
def test_a_mean_with_its_spread(values: list[float], digits: int, expected: str) -> None:
    assert results.mean_and_spread(values, digits) == expected


def test_the_environment_names_device_and_versions() -> None:
    environment = results.describe_environment()
    assert environment["device"].startswith(jax.devices()[0].platform)
    assert set(environment["versions"]) == {"python", "jaxbn", "jax", "flax", "optax", "numpy"}
    assert environment["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("text", ["[]", '"text"', "1"])
def test_json_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is not JSON \(no object\); delete it"):
        results.read_json(tmp_path / "config.json")


@pytest.mark.parametrize("text", ["{}", "[]", '{"step": 1}'])
def test_records_without_step_and_seed_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is not JSON lines \(a line without step and seed\)"):
        results.read_records(tmp_path / "metrics.jsonl")
