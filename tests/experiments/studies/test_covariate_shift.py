"""The study of the inputs of sigmoids, on images that are learned in 60 steps."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import training
from experiments.harness.console import make_console
from experiments.harness.seeds import unstack
from experiments.studies import covariate_shift as study
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_prototypes)
    stand_in.shrink(monkeypatch)


@pytest.mark.slow
def test_with_batch_norm_sigmoids_learn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's net, 60 steps at rate 0.1, one seed; without, all images look alike to its last sigmoids."""
    monkeypatch.setattr(training, "STEPS_PER_DISPATCH", 60)
    data = classifier.on_device(*runs.all_examples(stand_in.load_prototypes()))
    experiment, states = Experiment([0], 60, data, make_console()), list[training.TrainState]()
    train = experiment.train
    monkeypatch.setattr(
        experiment, "train", lambda *args, **kwargs: states.extend(train(*args, **kwargs)) or states[-1:]
    )
    without, with_norm = (study.read(experiment, kind, 0.1, 60) for kind in study.KINDS)
    assert without.accuracies.item() <= 30
    assert with_norm.accuracies.item() >= 95
    assert np.median(np.ptp(without.percentiles[0, 0], axis=0)) < 0.1
    # As they were at the start.
    for layer, tolerance in (("Dense_0", 0.02), ("Dense_3", 0.1)):
        np.testing.assert_allclose(np.std(states[0].params[layer]["kernel"]), 0.05, rtol=tolerance)
    # Of unit variance in training, and here by the running statistics.
    assert 1.7 <= np.median(np.ptp(with_norm.percentiles[0, 0], axis=0)) <= 2.2
    for read, state in zip((without, with_norm), states, strict=True):
        expected = np.percentile(last_inputs(state, np.asarray(data.images[140:260])), study.PERCENTILES, axis=0)
        np.testing.assert_allclose(read.percentiles[0, 0], expected, atol=2e-4)


def last_inputs(state: training.TrainState, images: np.ndarray) -> np.ndarray:
    """Of the last sigmoids, in NumPy's float64."""
    (of_seed,) = unstack(state)
    x = images.reshape(len(images), -1) / 255.0
    for i in range(3):
        dense = {name: value.astype(float) for name, value in of_seed.params[f"Dense_{i}"].items()}
        h = x @ dense["kernel"] + dense.get("bias", 0)
        if of_seed.extras:
            norm, running = of_seed.params[f"BatchNorm_{i}"], of_seed.extras["batch_stats"][f"BatchNorm_{i}"]
            h = norm["scale"] * (h - running["mean"]) / np.sqrt(running["var"] + 1e-5) + norm["bias"]
        x = 1 / (1 + np.exp(-h))
    return h


def readings(medians: list[float], half: float, accuracy: float) -> study.Readings:
    """Of two seeds and three sigmoids; the medians of one of them, after each reading."""
    percentiles = np.zeros((len(medians), 2, 3, 3))
    percentiles += np.array([-half, 0, half])[:, None]
    percentiles += np.array(medians)[:, None, None, None] * np.array([1, 0, 2])
    return study.Readings(np.full((len(medians), 2), accuracy), percentiles)


def found(without: float, with_norm: float, large: float) -> study.Found:
    of_small = {
        "without batch norm": readings([0, 5, 2], 0.5, without),
        "with batch norm": readings([0, 5, 1], 1, with_norm),
    }
    of_large = {"without batch norm": readings([0], 1, 97), "with batch norm": readings([0], 1, large)}
    return {study.SMALL: of_small, study.LARGE: of_large}


def test_verdicts() -> None:
    verdicts = study.judge(found(90, 96, 98.5))
    # Medians of the drifts 2, 0, 4 and 1/2, 0, 1.
    assert [v.values[0] for v in verdicts] == [96, 90, 6, 4, 1.5]
    assert [v.holds for v in verdicts] == [True] * 5
    verdicts = study.judge(found(90.1, 95.9, 98.6))
    assert [v.holds for v in verdicts] == [False, False, False, True, False]


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[int, float, int]]()

    def read(of: Experiment, kind: str, rate: float, every: int) -> study.Readings:
        asked.append((of.steps, rate, every))
        assert set(np.unique(of.data.images)) == {0, 255}
        return readings([0, 5, 2], 0.5, 97 if kind == "with batch norm" else 82)

    monkeypatch.setattr(study, "PLANS", {0.01: (3, 1), 1.0: (6, 2)})
    monkeypatch.setattr(study, "read", read)
    assert study.main(["--out", str(tmp_path), "--seeds", "2"]) == 0
    assert asked == [(3, 0.01, 1)] * 2 + [(6, 1.0, 2)] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["covariate_shift.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["measured"]["rate 1"]["with batch norm"] == {"accuracies": [[97, 97]] * 3, "drift": [2, 2]}
    assert "| rate 0.01, without batch norm | 82.00 ± 0.00 | 2.00 ± 0.00 |" in (tmp_path / "summary.md").read_text()
