"""The study of small batches and of batches that are not drawn at random, on a few random images."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.harness.console import make_console
from experiments.studies.small_batch import __main__ as study
from experiments.studies.small_batch import measure
from experiments.studies.small_batch.batches import FIXED_PAIRS, ONE_CLASS, RANDOM_PAIRS, batches_of_classes
from experiments.studies.small_batch.measure import GHOST, PLAIN, RANDOM, RENORM, TWO_CLASSES, Scores
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_stand_in)
    monkeypatch.setattr(measure, "MANY", 40)
    stand_in.shrink(monkeypatch)


def labels() -> np.ndarray:
    return runs.all_examples(stand_in.load_stand_in())[1]


def drawn(seeds: list[int], size: int, drawing: tuple[int, bool]) -> Callable[[int, int], np.ndarray]:
    return batches_of_classes(seeds, labels(), size, *drawing)


@pytest.mark.parametrize("size", [2, 12])
def test_a_batch_is_of_its_classes_half_and_half(size: int) -> None:
    def classes(drawing: tuple[int, bool]) -> set[tuple[int, ...]]:
        found = np.sort(labels()[drawn([0], size, drawing)(0, 200)[0]])
        each = size // drawing[0]
        np.testing.assert_array_equal(found, found[:, ::each].repeat(each, axis=1))
        return {tuple(map(int, of_step[::each])) for of_step in found}

    assert classes(FIXED_PAIRS) == {(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)}
    assert classes(ONE_CLASS) == {(c,) for c in range(10)}
    pairs = classes(RANDOM_PAIRS)
    assert pairs == {(a, b) for a in range(10) for b in range(a + 1, 10)}


def test_classes_take_turns_so_that_a_ghost_group_has_both() -> None:
    found = labels()[drawn([0], 8, FIXED_PAIRS)(0, 20)]
    assert np.all(found[..., ::2] // 2 == found[..., 1::2] // 2)
    assert np.all(found[..., ::2] != found[..., 1::2])


@pytest.mark.parametrize("drawing", [FIXED_PAIRS, RANDOM_PAIRS, ONE_CLASS], ids=str)
def test_every_training_example_of_a_class_once_an_epoch(drawing: tuple[int, bool]) -> None:
    found = drawn([5], 4, drawing)(0, 300).ravel()
    for c in range(10):
        members = np.flatnonzero(labels() == c)
        members = members[(members >= runs.VALIDATION) & (members < runs.VALIDATION + runs.TRAINING)]
        of_class = found[labels()[found] == c]
        epochs = len(of_class) // len(members)
        assert epochs > 1
        for epoch in of_class[: epochs * len(members)].reshape(epochs, -1):
            np.testing.assert_array_equal(np.sort(epoch), members)


def test_batches_depend_on_seed_and_step_alone() -> None:
    both, one = drawn([1, 2], 4, FIXED_PAIRS), drawn([2], 4, FIXED_PAIRS)
    whole = both(0, 50)
    assert whole.shape == (2, 50, 4)
    np.testing.assert_array_equal(np.concatenate([both(0, 20), both(20, 30)], axis=1), whole)
    np.testing.assert_array_equal(one(0, 50)[0], whole[1])
    assert np.any(whole[0] != whole[1])


def test_limits_widen_as_in_the_paper() -> None:
    limits = measure.limits(1_600)
    read = [(float(limits["r_max"](step)), float(limits["d_max"](step))) for step in (0, 50, 150, 225, 250, 400, 1_600)]
    expected = [(1, 0), (1, 0), (1 + 2 * 100 / 350, 2.5), (2, 4.375), (1 + 2 * 200 / 350, 5), (3, 5), (3, 5)]
    np.testing.assert_allclose(read, expected, rtol=1e-6)


def test_what_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[dict[str, Any], str, int]]()
    monkeypatch.setattr(measure, "scores", lambda _, norm, _name, *batches: asked.append((norm, *batches)))
    experiment: Any = Experiment([0], 1_600, None, make_console())  # type: ignore[arg-type]
    measure.by_size(experiment, TWO_CLASSES)
    assert {drawing for _, drawing, _ in asked} == {TWO_CLASSES}
    assert sorted(size for norm, _, size in asked if not norm) == [2, 4, 8, 16, 32, 64]
    assert sorted(size for norm, _, size in asked if "r_max" in norm) == [2, 4, 8, 16, 32, 64]
    ghosts = [(norm["ghost_size"], size) for norm, _, size in asked if "ghost_size" in norm]
    assert ghosts == [(2, 32), (4, 32), (8, 32), (16, 32)]
    asked.clear()
    measure.by_drawing(experiment)
    measure.of_renorm(experiment)
    assert [drawing for _, drawing, _ in asked[:4:2]] == ["of two classes, random pairs", "of one class"]
    assert {norm.get("momentum") for norm, drawing, _ in asked[4:] if drawing == TWO_CLASSES} == {
        0.9,
        0.99,
        0.999,
        None,
    }


def test_rates_are_in_proportion_to_the_batch_and_running_statistics_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment: Any = Experiment([0], 1, None, make_console())  # type: ignore[arg-type]
    rates = list[float]()
    monkeypatch.setattr(experiment, "train", lambda *_, rate: rates.append(rate) or ["as trained"])
    monkeypatch.setattr(experiment, "recalibrated", lambda *_: "recalibrated")
    monkeypatch.setattr(experiment, "scorer", lambda _: lambda state: state)
    found = [measure.scores(experiment, {}, PLAIN, RANDOM, size) for size in (8, 32)]
    assert found == [("as trained", "recalibrated")] * 2
    assert rates == [runs.LEARNING_RATE / 4, runs.LEARNING_RATE]


@pytest.mark.slow
def test_a_net_is_scored_with_both_statistics() -> None:
    data = classifier.on_device(*runs.all_examples(stand_in.load_stand_in()))
    experiment = Experiment([0, 1], 5, data, make_console())
    found = measure.scores(experiment, measure.limits(5), RENORM, TWO_CLASSES, 4)
    for accuracies in found:
        assert accuracies.shape == (2,)
        # Of 120 test images, each counted once.
        np.testing.assert_allclose(accuracies * 1.2, np.round(accuracies * 1.2), atol=1e-6)
    assert np.any(found.running != found.recalibrated)


def recorded(value: Callable[[str, str, int], float]) -> dict[str, dict[str, dict[int, Scores]]]:
    def scores(drawing: str, norm: str, size: int) -> Scores:
        return Scores(value(drawing, norm, size) + np.array([-0.5, 0.5]), np.full(2, 1.0))

    return {
        drawing: {
            norm: {size: scores(drawing, norm, size) for size in measure.SIZES} for norm in (PLAIN, RENORM, GHOST)
        }
        for drawing in (RANDOM, TWO_CLASSES)
    }


def test_verdicts() -> None:
    def as_predicted(drawing: str, norm: str, size: int) -> float:
        if drawing == TWO_CLASSES:
            return 70 if norm == PLAIN else 90
        return {(GHOST, 2): 80, (RENORM, 2): 95.5, (RENORM, 4): 91.5, (PLAIN, 32): 94}.get((norm, size), 90)

    found = study.judge(recorded(as_predicted))
    np.testing.assert_allclose([np.mean(verdict.values) for verdict in found], [24, 250 / 3, 5.5, 1.5, 0, 10])
    assert [verdict.holds for verdict in found] == [True] * 6

    def otherwise(drawing: str, norm: str, size: int) -> float:
        if drawing == TWO_CLASSES:
            return 80 if norm == PLAIN else 87
        return {(GHOST, 2): 81, (RENORM, 2): 94.5, (RENORM, 4): 90.5, (RENORM, 16): 89}.get((norm, size), 90)

    found = study.judge(recorded(otherwise))
    np.testing.assert_allclose([np.mean(verdict.values) for verdict in found], [10, 70, 4.5, 0.5, -1, 9])
    assert [verdict.holds for verdict in found] == [False] * 6


def test_where_nothing_is_lost_nothing_is_recovered() -> None:
    for pairs in (90, 91):
        found = study.judge(recorded(lambda drawing, *_, pairs=pairs: pairs if drawing == TWO_CLASSES else 90))
        assert [np.mean(verdict.values) for verdict in found[:2]] == [90 - pairs, pytest.approx(np.nan, nan_ok=True)]
        assert [verdict.holds for verdict in found[:2]] == [False, False]


@pytest.mark.slow
def test_a_run_writes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores(experiment: Experiment, norm: Any, name: str, drawing: str, size: int) -> Scores:
        return Scores(np.array([80.0, 82.0]) + np.log2(size), np.array([90.0, 92.0]))

    monkeypatch.setattr(measure, "scores", scores)
    assert study.main(["--seeds", "2", "--seed", "7", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small_batch.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["settings"]["seed"], summary["measured"]["scores"]) == (7, ["running", "recalibrated"])
    assert summary["measured"]["sizes"][TWO_CLASSES][RENORM]["8"] == [[83, 85], [90, 92]]
    text = (tmp_path / "summary.md").read_text()
    assert text.count("\n| --- |") == 5
    head, _, row, *_, last = text.split(f"Test accuracy by size, batches {TWO_CLASSES}\n\n")[1].splitlines()[:8]
    assert head.startswith(f"| images, {TWO_CLASSES} | {PLAIN} | {PLAIN}, recalibrated | {RENORM} | ")
    two, many, new = "82.00 ± 1.41", "87.00 ± 1.41", "91.00 ± 1.41"
    assert row == f"| 2 | {two} | {new} | {two} | {new} | 86.00 ± 1.41 | {new} |"
    assert last == f"| 64 | {many} | {new} | {many} | {new} |  |  |"
    assert len(re.findall(r"^\| of (?:one|two) class", text, re.MULTILINE)) == 3
    said = capsys.readouterr().out
    assert "FAILS" in said
    assert "mean ± standard deviation of 2 seeds after 1,500 steps" in said
    with Image.open(tmp_path / "small_batch.png") as image:
        assert image.width > image.height > 400


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "0"], "`--steps` must be at least 1, got 0"),
        (["--seeds", "0"], "`--seeds` must be at least 1, got 0"),
        (["--sizes", "7"], "--sizes"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    assert study.main(["--out", str(tmp_path), *flags]) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)
