"""The study of the growth of weights, small: two layers and 30 steps; the tolerances are those of the study."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import norm_growth as study


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "LAYERS", 2)


@pytest.mark.slow
def test_weights_grow_by_their_squared_steps() -> None:
    exact, near = (study.grow([0, 1], epsilon, steps=30) for epsilon in (0.0, 1e-5))
    assert study.errors(exact).max() <= 1e-10
    assert exact.least.min() > 0
    assert 1e-10 < study.errors(near).max() <= 1e-3


def test_the_error_is_relative_to_the_growth() -> None:
    growth = study.Growth(np.array([[100.0, 100.0], [110.0, 101.0]]), np.array([[0.0, 0.0], [11.0, 1.0]]), np.zeros(()))
    np.testing.assert_allclose(study.errors(growth), [0.1, 0])


def grown(error: float) -> study.Growth:
    """Of two seeds, as if the error at epsilon 1e-5 were this, and in proportion to epsilon."""
    relative = error * np.array(study.EPSILONS)[:, None, None, None] / 1e-5
    growth = np.tile(np.linspace(0, 1, 5)[:, None], (len(study.EPSILONS), 2, 1, study.LAYERS))
    return study.Growth(5 + growth, growth * (1 + relative), np.full((len(study.EPSILONS), 2), 1e-9))


@pytest.mark.parametrize(("error", "holds"), [(0.9e-3, True), (1.1e-3, False), (-1.1e-3, False)])
def test_verdicts(error: float, holds: bool) -> None:
    growth = grown(error)
    assert [verdict.holds for verdict in study.judge(growth)] == [holds, True]
    growth.least[0, 1] = -1e-9
    assert [verdict.holds for verdict in study.judge(growth)] == [holds, False]


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = iter([study.Growth(*part) for part in zip(*grown(1e-4), strict=True)])
    monkeypatch.setattr(study, "grow", lambda *_, **__: next(parts))
    assert study.main(["--seeds", "2", "--steps", "4", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["measured"] for verdict in summary["verdicts"]] == ["0.000100 ± 0.000000", "0.00 ± 0.00"]
    assert (tmp_path / "norm_growth.png").stat().st_size > 10_000


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert study.main(["--steps", "0", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: `--steps` must be at least 1, got 0.\n"
