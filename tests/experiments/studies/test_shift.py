"""The study of shifted images, on images that are learned in 50 steps."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.ndimage as reference

from experiments.harness import training
from experiments.harness.console import make_console
from experiments.studies.shift import __main__ as study
from experiments.studies.shift import corruptions, measure
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in

IMAGES = np.random.default_rng(0).uniform(0, 1, (4, 28, 28)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_prototypes)
    stand_in.shrink(monkeypatch)
    monkeypatch.setattr(training, "STEPS_PER_DISPATCH", 50)
    monkeypatch.setattr(study, "RECALIBRATION", 60)
    for name, value in {"RECALIBRATION": 60, "ALIKE": np.arange(60), "ONE_CLASS": 5}.items():
        monkeypatch.setattr(measure, name, value)
    monkeypatch.setattr(runs, "VALIDATION", 60)
    monkeypatch.setattr(runs, "TRAINING", 80)


def test_what_befalls_all_pixels_alike() -> None:
    noisy = np.asarray(corruptions.noise(KEY, 0.5 + 0 * IMAGES, 0.1))
    np.testing.assert_allclose([noisy.mean(), noisy.std()], [0.5, 0.1], atol=0.005)
    assert np.ptp(np.asarray(corruptions.noise(KEY, IMAGES, 9.0))) == 1

    flat = np.asarray(corruptions.contrast(KEY, IMAGES, 0.7))
    np.testing.assert_allclose(flat.mean((1, 2)), IMAGES.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(flat.std((1, 2)), 0.3 * IMAGES.std((1, 2)), rtol=1e-5)

    np.testing.assert_allclose(corruptions.brightness(KEY, IMAGES, 0.4), np.minimum(IMAGES + 0.4, 1), rtol=1e-6)


def test_what_moves_pixels_is_what_scipy_does() -> None:
    blurred = np.asarray(corruptions.blur(KEY, IMAGES, 1.0))
    expected = [reference.gaussian_filter(image.astype(float), 1, truncate=9) for image in IMAGES]
    np.testing.assert_allclose(blurred[:, 9:19, 9:19], np.array(expected)[:, 9:19, 9:19], atol=1e-5)

    inner = np.pad(IMAGES[:, 7:21, 7:21], [(0, 0), (7, 7), (7, 7)])
    for image, turned in zip(inner, np.asarray(corruptions.rotation(KEY, inner, 30.0)), strict=True):
        either = [reference.rotate(image, angle, reshape=False, order=1) for angle in (30, -30)]
        assert min(np.abs(turned - one).max() for one in either) < 1e-4

    dot = np.zeros((50, 28, 28), np.float32)
    dot[:, 13, 13] = 1
    rows, columns = (np.asarray(corruptions.translation(KEY, dot, 5.0)) * grid for grid in np.indices((28, 28)))
    moved = np.stack([rows.sum((1, 2)) - 13, columns.sum((1, 2)) - 13])
    np.testing.assert_allclose(np.hypot(*moved), 5, atol=0.1)
    assert np.all(np.abs(moved.mean(1)) < 2)


def test_each_image_is_corrupted_in_its_own_way_and_again_in_the_same() -> None:
    for corruption in (corruptions.noise, corruptions.translation):
        twice = [np.asarray(corruption(KEY, np.tile(IMAGES[:1], (4, 1, 1)), 0.5)) for _ in range(2)]
        np.testing.assert_array_equal(*twice)
        assert np.all(np.abs(np.diff(twice[0], axis=0)).max((1, 2)) > 0)


def test_by_corruption_running_statistics_come_before_recalibrated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net:
        """Its accuracy is the brightness, and 50 more where it is recalibrated."""

        def accuracy(self, data: classifier.Examples, on: np.ndarray | None = None) -> np.ndarray:
            return 100 * np.asarray(data.images).mean((1, 2)) + (0 if on is None else 50)

    monkeypatch.setattr(measure, "CORRUPTIONS", {corruptions.brightness: (0.1, 0.3)})
    clean = classifier.Examples(np.zeros((2, 28, 28), np.float32), np.zeros(2, np.int32))
    found = measure.by_corruption({"dense": Net()}, clean, 0, make_console())["dense"]["brightness"]
    np.testing.assert_allclose(found, [[[10, 10], [60, 60]], [[30, 30], [80, 80]]], rtol=1e-5)


@pytest.mark.slow
def test_recalibration_undoes_what_befalls_all_pixels_alike() -> None:
    """The dense net alone; 50 steps of 20 images, of two seeds."""
    images, labels = runs.all_examples(stand_in.load_prototypes())
    experiment = Experiment([0, 1], 50, classifier.on_device(images, labels), make_console())
    chosen = np.r_[:60, 140:260]
    clean = classifier.on_device(images[chosen].astype(np.float32) / 255, labels[chosen])
    dense = measure.Trained(experiment, "dense")
    # To the last image.
    before, shifted, after = measure.of_affine({"dense": dense}, clean)["dense"]
    assert before.min() >= 80
    assert shifted.max() <= 50
    np.testing.assert_array_equal(after, before)
    assert measure.of_one_class(dense, clean).mean() <= -50


def recorded(photometric: float, geometric: float) -> measure.Found:
    names = {c.__name__: photometric for c in measure.PHOTOMETRIC} | {c.__name__: geometric for c in measure.GEOMETRIC}
    one = {name: np.stack([np.full((3, 2), 50.0), np.full((3, 2), 50 + by)], axis=1) for name, by in names.items()}
    return {"dense": one, "convolutional": one}


def test_verdicts() -> None:
    one_class, affine = np.full((10, 2), -60.0), {"dense": np.array([[97.0, 96.0], [9, 9], [97.05, 96.0]])}
    verdicts = study.judge(recorded(12, -2), one_class, affine)
    assert [v.values for v in verdicts[:3]] == [[12, 12], [-2, -2], [-60, -60]]
    assert [v.holds for v in verdicts] == [True] * 4
    affine = {"dense": np.array([[97.0, 96.0], [9, 9], [97.2, 96.0]])}
    assert [v.holds for v in study.judge(recorded(9, 4), one_class + 20, affine)] == [False] * 4


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affine = {name: np.array([[97.0, 96.0], [9, 9], [97.05, 96.0]]) for name in measure.NETS}
    monkeypatch.setattr(measure, "Trained", lambda *_: None)
    monkeypatch.setattr(measure, "by_corruption", lambda *_: recorded(12, -2))
    monkeypatch.setattr(measure, "of_one_class", lambda *_: np.full((10, 2), -60.0))
    monkeypatch.setattr(measure, "of_affine", lambda *_: affine)
    assert study.main(["--out", str(tmp_path), "--seeds", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shift.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["measured"]["accuracy"]["dense"]["noise"] == [[[50, 50], [62, 62]]] * 3
    text = (tmp_path / "summary.md").read_text()
    assert "| blur 1.5 | 50.00 ± 0.00 | 62.00 ± 0.00 | 50.00 ± 0.00 | 62.00 ± 0.00 |" in text


def test_a_mistake_is_one_line_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    assert study.main(["--out", str(tmp_path), "--steps", "0"]) == 2
    assert re.fullmatch(r"error: `--steps` must be at least 1, got 0[^\n]*\n", capsys.readouterr().err)
