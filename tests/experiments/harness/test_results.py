"""Result files: what is written comes back."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness import results
from experiments.harness.environment import describe_environment

RECORDS = [{"step": 1, "seed": 0, "acc": 0.1}, {"step": 1, "seed": 1, "acc": 1 / 3}]


def test_records_are_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    results.write_records(path, RECORDS)
    assert [json.loads(line) for line in path.read_text().splitlines()] == RECORDS


def test_an_evaluation_gives_a_record_for_every_seed() -> None:
    metrics = {"acc": np.array([0.25, 0.5], np.float32), "loss": np.array([1.0, 2.0])}
    assert results.to_records(7, [3, 9], metrics) == [
        {"step": 7, "seed": 3, "acc": 0.25, "loss": 1.0},
        {"step": 7, "seed": 9, "acc": 0.5, "loss": 2.0},
    ]
    assert json.loads(json.dumps(results.to_records(7, [3], metrics))) == results.to_records(7, [3], metrics)


def test_a_seed_that_was_left_out_is_named() -> None:
    later = [{"step": 2, "seed": 1, "acc": 0.2}]
    assert results.note_left_out({"a": RECORDS, "b": [*RECORDS, *later]}) == [
        "b is without seed 0, whose metrics were not finite."
    ]


@pytest.mark.parametrize("given", [None, {"device": "another"}])
def test_a_summary_is_two_files_with_the_environment(given: Any, tmp_path: Path) -> None:
    results.write_summary(tmp_path / "out", {"acc": [0.1]}, "text\n", name="nets", environment=given)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nets.json", "nets.md"]
    assert (tmp_path / "out" / "nets.md").read_text() == "text\n"
    expected = {"acc": [0.1], **(given or describe_environment())}
    assert json.loads((tmp_path / "out" / "nets.json").read_text()) == expected


@pytest.mark.parametrize("finished", [{}, {"mlp": 1.5}])
@pytest.mark.parametrize("stopped", [False, True])
def test_what_is_finished_is_reported_also_after_ctrl_c(stopped: bool, finished: dict[str, float]) -> None:
    told: list[dict[str, float]] = []
    seconds: dict[str, float] = {}
    end = pytest.raises(KeyboardInterrupt) if stopped else contextlib.nullcontext()
    with end, results.reported(seconds, lambda: told.append(seconds)):
        seconds.update(finished)
        if stopped:
            raise KeyboardInterrupt
    assert told == ([finished] if finished else [])
