"""The table, the files and the one-line explanation, from checkpoints made by hand."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.harness import files
from experiments.harness.environment import describe_environment
from experiments.mnist import report
from tests.experiments.measured import save_measured

SECONDS = {"mlp": 12.345, "conv-bn": 60.0}


def write(out: Path, name: str, evaluations: dict[int, list[float]]) -> None:
    """Records of two seeds, whose accuracies are given and whose other values follow from them."""
    records: list[dict[str, Any]] = []
    last = max(evaluations)
    for step, accuracies in evaluations.items():
        for seed, acc in enumerate(accuracies):
            record = {"step": step, "seed": seed, "test_acc": acc, "test_loss": 1 - acc, "test_batch_stats_acc": 0.97}
            records.append({**record, "train_acc": acc + 0.01, "train_loss": 0.5 * acc} if step == last else record)
    save_measured(out / name, records, SECONDS.get(name, 1.0))


@pytest.fixture
def reported(tmp_path: Path) -> tuple[Path, str]:
    """Returns the folder and what was printed."""
    write(tmp_path, "mlp", {500: [0.5, 0.5], 1_500: [0.96, 0.98]})
    write(tmp_path, "conv-bn", {500: [0.85, 0.95], 1_000: [0.9, 0.94], 5_000: [0.98, 0.98]})
    console = Console(file=io.StringIO(), width=160, highlight=False)
    report.report(tmp_path, console)
    return tmp_path, console.file.getvalue()


def test_the_summary_has_one_value_a_seed_of_the_last_evaluation(reported: tuple[Path, str]) -> None:
    summary = json.loads((reported[0] / "summary.json").read_text())
    assert set(summary) == {"models", "device", "versions"}
    assert list(summary["models"]) == ["mlp", "conv-bn"]
    mlp = summary["models"]["mlp"]
    assert set(mlp) == {"train_loss", "train_acc", "test_loss", "test_acc", "steps", "seconds"}
    assert mlp["test_acc"] == [0.96, 0.98]
    assert mlp["test_loss"] == pytest.approx([0.04, 0.02])
    assert mlp["train_acc"] == pytest.approx([0.97, 0.99])
    assert mlp["train_loss"] == pytest.approx([0.48, 0.49])
    assert (mlp["steps"], mlp["seconds"]) == (1_500, 12.35)
    assert {key: summary[key] for key in ("device", "versions")} == describe_environment()


def test_the_table_has_the_tutorials_numbers_beside_ours(reported: tuple[Path, str]) -> None:
    lines = (reported[0] / "summary.md").read_text().splitlines()
    assert lines[:3] == [
        "The tutorial's four runs",
        "",
        "| run | train loss | train acc | test loss | test acc | steps | seconds |",
    ]
    assert lines[4] == (
        "| mlp | 0.4850 ± 0.0071 (0.0531) | 0.9800 ± 0.0141 (0.9861) | 0.0300 ± 0.0141 | 0.9700 ± 0.0141 "
        "| 1,500 | 12.3 |"
    )
    assert lines[5] == (
        "| conv-bn | 0.4900 ± 0.0000 (0.0350) | 0.9900 ± 0.0000 (0.9895) | 0.0200 ± 0.0000 (0.0421) "
        "| 0.9800 ± 0.0000 (0.9868) | 5,000 | 60.0 |"
    )
    assert lines[7] == "In parentheses: the tutorial's own numbers, from one run each."


def test_the_difference_of_the_modes_is_explained_in_numbers(reported: tuple[Path, str]) -> None:
    out, printed = reported
    line = (
        "conv-bn at step 500: test accuracy 0.900 ± 0.071 with the running statistics, 0.970 ± 0.000 with those of the "
        "batches, because with decay 0.999 the running ones still hold 60.6% of their initial 0 and 1. At step 1,000 "
        "the tutorial read 0.578 on 64 images, below what this run has on all 10,000: 0.900 to 0.940."
    )
    assert line in (out / "summary.md").read_text().splitlines()
    assert line in printed.splitlines()


@pytest.mark.parametrize(
    ("at_1000", "words"),
    [
        (None, "initial 0 and 1."),
        ([0.9], "below what this run has on all 10,000: 0.900."),
        ([0.5, 0.9], "not below what this run has on all 10,000: 0.500 to 0.900."),
    ],
)
def test_the_tutorials_reading_is_placed_as_it_falls(at_1000: list[float] | None, words: str) -> None:
    records = [{"step": 700, "test_acc": 0.5, "test_batch_stats_acc": 0.9}]
    records += [{"step": 1_000, "test_acc": acc, "test_batch_stats_acc": 0.9} for acc in at_1000 or []]
    line = report.why_modes_differ(records)
    assert line.endswith(words)
    assert "\n" not in line
    assert "0.500 with the running statistics, 0.900 with those" in line
    assert "49.6%" in line


def test_what_is_printed_is_what_is_written(reported: tuple[Path, str]) -> None:
    out, printed = reported
    cells = [cell.strip() for line in (out / "summary.md").read_text().splitlines()[4:6] for cell in line.split("|")]
    assert all(cell in printed for cell in cells)
    assert f"Files: {out / 'summary.md'}, {out / 'summary.json'}, {out / 'curves.png'}" in printed
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_dense_net_alone_needs_no_explanation(tmp_path: Path) -> None:
    write(tmp_path, "mlp", {1: [0.1]})
    report.report(tmp_path, Console(file=io.StringIO()))
    text = (tmp_path / "summary.md").read_text()
    assert "decay" not in text
    assert "| mlp | 0.0500 (0.0531) | 0.1100 (0.9861) | 0.9000 | 0.1000 | 1 | 12.3 |" in text


@pytest.mark.parametrize("name", list(report.PRINTED))
def test_the_tutorials_numbers_are_accuracies_and_losses(name: str) -> None:
    printed = report.PRINTED[name]
    assert 0.03 < printed["train_loss"] < 0.06
    assert 0.98 < printed["train_acc"] < 0.99
    assert ("test_acc" in printed) == ("test_loss" in printed) == name.startswith("conv")


def test_finished_models_of_earlier_runs_stay_in_the_summary(reported: tuple[Path, str]) -> None:
    out, _ = reported
    write(out, "mlp-bn", {500: [0.9, 0.9]})
    write(out, "conv", {500: [0.9, 0.9]})
    report.report(out, Console(file=io.StringIO()))
    models = json.loads((out / "summary.json").read_text())["models"]
    assert {name: model["seconds"] for name, model in models.items()} == {
        "mlp-bn": 1.0,
        "mlp": 12.35,
        "conv-bn": 60.0,
        "conv": 1.0,
    }
    # Started anew, and stopped before its last evaluation.
    save_measured(out / "mlp", [{"step": 500, "seed": 0, "test_acc": 0.5}])
    report.report(out, Console(file=io.StringIO()))
    assert list(json.loads((out / "summary.json").read_text())["models"]) == ["mlp-bn", "conv-bn", "conv"]


def test_altered_results_are_not_believed(reported: tuple[Path, str]) -> None:
    """Of models that are not run again, nothing but the checkpoint tells."""
    out, _ = reported
    before = (out / "summary.md").read_text()
    files.write_json(out / "summary.json", {"models": {"mlp": {"seconds": 1.0}, "conv": {}}})
    files.write_text(out / "mlp" / "metrics.jsonl", '{"step": 1500, "seed": 0, "test_acc": 0.99}\n')
    report.report(out, Console(file=io.StringIO()))
    assert (out / "summary.md").read_text() == before
    (path,) = (out / "mlp" / "checkpoints" / "1500" / "measured").glob("metadata")
    assert "0.96" in path.read_text()
    path.write_text(path.read_text().replace("0.96", "0.97"))
    report.report(out, Console(file=io.StringIO()))
    text = (out / "summary.md").read_text()
    assert "| mlp |" not in text
    assert "| conv-bn |" in text
    folder = out / "mlp" / "checkpoints"
    assert (
        f"mlp is left out. The checkpoint of step 1500 in {folder} is damaged (it is not what was saved under this "
        "step and these settings); --resume goes on from the one before it, if that is there."
    ) in text.splitlines()


def test_the_pair_is_compared_seed_by_seed(tmp_path: Path) -> None:
    write(tmp_path, "conv-bn", {500: [0.90, 0.95]})
    write(tmp_path, "conv", {500: [0.89, 0.92]})
    report.report(tmp_path, Console(file=io.StringIO()))
    text = (tmp_path / "summary.md").read_text()
    assert (
        "paired over 2 seeds, ± standard error): +2.00 ± 1.00 at step 500 with running statistics, +6.50 ± 1.50" in text
    )


@pytest.mark.slow
def test_runs_of_other_lengths_or_seeds_are_compared_where_they_meet(tmp_path: Path) -> None:
    write(tmp_path, "conv-bn", {500: [0.90, 0.95], 1_000: [0.96, 0.97], 1_500: [0.98, 0.98]})
    text = {}
    for name, plain in {"fewer": {500: [0.89], 1_000: [0.94]}, "no common step": {100: [0.89, 0.92]}}.items():
        write(tmp_path, "conv", plain)
        report.report(tmp_path, Console(file=io.StringIO()))
        text[name] = (tmp_path / "summary.md").read_text()
    assert (
        "accuracy (seed 0): +1.00 at step 500 with running statistics, +8.00 at step 500 with batch statistics, "
        "+2.00 at step 1,000 with running statistics, +3.00 at step 1,000 with batch statistics."
    ) in text["fewer"]
    assert "conv-bn and conv have no evaluation of the same seed at the same step" in text["no common step"]
    assert "| conv | " in text["no common step"]
