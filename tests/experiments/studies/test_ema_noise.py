"""The study of a running mean's noise, small: a tenth of the features; tolerances of 10 and, for variances, 1.5 %."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import ema_noise


@pytest.mark.parametrize("momentum", [0.1, 0.9])
def test_spread_and_variances_are_the_predicted_ones(momentum: float) -> None:
    found = [ema_noise.running(seed, momentum, steps=100, features=100) for seed in range(20)]
    spreads, variances = (np.mean(of_all, axis=0) for of_all in zip(*found, strict=True))
    np.testing.assert_allclose(spreads, ema_noise.predicted(momentum), rtol=0.1)
    # 2,000 features: a standard error of half a percent at the smaller momentum.
    np.testing.assert_allclose(variances, [31 / 32, 1], rtol=0.015)


def test_verdicts() -> None:
    spreads = np.array([[ema_noise.predicted(momentum)] * 2 for momentum in ema_noise.MOMENTA])
    variances = np.broadcast_to(np.array([31 / 32, 1])[:, None, None], (2, 3, 2))
    assert [verdict.holds for verdict in ema_noise.judge(1.04 * spreads, 1.004 * variances)] == [True] * 5
    assert [verdict.holds for verdict in ema_noise.judge(1.06 * spreads, 1.006 * variances)] == [False] * 5


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ema_noise, "running", lambda _, momentum: (ema_noise.predicted(momentum), [31 / 32, 1]))
    assert ema_noise.main(["--seeds", "2", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["holds"] for verdict in summary["verdicts"]] == [True] * 5
    assert (tmp_path / "ema_noise.png").stat().st_size > 10_000
