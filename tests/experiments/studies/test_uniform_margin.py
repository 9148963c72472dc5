"""The study of margins, small: three problems and 400 steps; the tolerances are those of the study."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.harness.precision import computing_in
from experiments.studies import uniform_margin as study


@pytest.mark.parametrize("normalized", [True, False])
def test_margins_are_equal_with_batch_norm_alone(normalized: bool) -> None:
    with computing_in(float64=True):
        margins = jax.device_get(study.of_all(np.arange(3), normalized=normalized, steps=400))
    equal = study.equality(margins[:, -1])
    assert (equal >= 0.999).all() if normalized else (equal > 0).all() and (equal <= 0.8).all()


def test_a_wrong_side_counts_below_0() -> None:
    np.testing.assert_allclose(study.equality(np.array([[1.0, 2.0], [-1.0, 2.0], [-2.0, -1.0]])), [0.5, -0.5, -1])


@pytest.mark.parametrize(("least", "holds"), [((0.9995, 0.79), True), ((0.9985, 0.81), False)])
def test_verdicts(least: tuple[float, float], holds: bool) -> None:
    found = [np.linspace(low, 1, 20)[None, None] for low in least]
    assert [verdict.holds for verdict in study.judge(found)] == [holds] * 2


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_all(seeds: np.ndarray, *, normalized: bool, steps: int) -> np.ndarray:
        return np.tile(np.linspace(1.0 if normalized else 0.5, 1, 20), (len(seeds), steps, 1))

    monkeypatch.setattr(study, "of_all", of_all)
    assert study.main(["--seeds", "2", "--steps", "4", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["measured"] for verdict in summary["verdicts"]] == ["1.0000 ± 0.0000", "0.5000 ± 0.0000"]
    assert (tmp_path / "uniform_margin.png").stat().st_size > 10_000


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert study.main(["--steps", "0", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: `--steps` must be at least 1, got 0.\n"
