"""The study of the angle by which weights turn, small: 16 units, 500 steps of a stronger decay, and 3 % for all."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.studies import spherical_motion as study


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "LAST", 300)


@pytest.mark.slow
@pytest.mark.parametrize("case", [study.sgd(0.1, 0.05, 0.9), study.adamw(0.05, 0.2, 0.8)])
def test_weights_turn_by_the_predicted_angle(case: study.Case) -> None:
    with jax.numpy_dtype_promotion("standard"):  # what optax needs
        angles = study.train(case.optimizer, np.arange(2), steps=500, units=16)
    np.testing.assert_allclose(np.mean(study.settled(jax.device_get(angles))), case.angle, rtol=0.03)


def test_the_angle_of_two_columns() -> None:
    old, turn = np.array([[1.0, 3.0], [0.0, 3.0]]), np.array([0.3, 1e-3])
    first = np.arctan2(old[1], old[0]) + turn
    new = np.stack([np.cos(first), np.sin(first)]) * [5, 0.1]
    np.testing.assert_allclose(study.angle(old.astype("float32"), new.astype("float32")), turn, rtol=1e-3)


def found(error: float) -> list[study.Angles]:
    """As if all angles were so many times those predicted."""
    angles = [np.full((2, 400), error * case.angle) for case in study.CASES]
    return [study.Angles(angle, angle / 2) for angle in angles]


@pytest.mark.parametrize(("error", "holds"), [(1.02, [True] * 3), (1.04, [False, False, True]), (0.94, [False] * 3)])
def test_verdicts(error: float, holds: list[bool]) -> None:
    assert [verdict.holds for verdict in study.judge(found(error))] == holds


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    angles = dict(zip((case.optimizer for case in study.CASES), found(1.0), strict=True))
    monkeypatch.setattr(study, "train", lambda optimizer, *_, **__: angles[optimizer])
    assert study.main(["--seeds", "2", "--steps", "400", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["interval"] for verdict in summary["verdicts"]] == ["0.03162", "0.02294", "0.00725"]
    assert "SGD 0.50, SGD, momentum 0.9 0.50, AdamW 0.50 of it" in summary["notes"][0]
    assert (tmp_path / "spherical_motion.png").stat().st_size > 10_000


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert study.main(["--steps", "299", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: `--steps` must be at least 300, got 299.\n"
