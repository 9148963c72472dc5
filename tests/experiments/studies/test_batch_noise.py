"""The study of batch noise, small: random images, ten features, two sizes of 1,000 batches, and a tolerance of 5 %."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import batch_noise as study
from tests.experiments import stand_in


@pytest.mark.slow
def test_spreads_and_bias_are_the_predicted_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"SIZES": (16, 64), "FEATURES": 10, "BATCHES": 1_000, "load_kept": stand_in.load_stand_in}
    for name, value in small.items():
        monkeypatch.setattr(study, name, value)
    assert study.main(["--seed", "0", "--seeds", "2", "--out", str(tmp_path)]) == 0
    *ratios, _, _ = json.loads((tmp_path / "summary.json").read_text())["verdicts"]
    found = np.array([np.mean(verdict["values"]) for verdict in ratios])
    np.testing.assert_allclose(found[:4], 1, atol=0.05)
    # The bias itself is 4.5 % at M = 16 and 1.1 % at M = 64.
    np.testing.assert_allclose(found[4:], 1, atol=0.006)


def test_kurtosis_and_what_follows_from_it() -> None:
    # Of a fair coin -2: its batch standard deviations hardly scatter.
    np.testing.assert_allclose(study.kurtosis(np.array([[0.0, 1], [1, 1], [0, 1], [1, 5]])), [-2, 7 / 3 - 3], rtol=1e-6)
    assert study.predicted(study.STD, 16, -2) == 0
    # Of Gaussian values E[std] = 1 - 3 / (4 M) to first order.
    np.testing.assert_allclose(study.predicted(study.LEVEL, 100, 0), 1 - 3 / 400)


def test_verdicts() -> None:
    def holds(off: float, wrong: int) -> list[bool]:
        """Where so many features are off by 6 %, and the others by so many times what is granted, but for M = 8."""
        ratios = {}
        for kind, percent in study.PERCENT.items():
            ratios[kind] = np.full((len(study.SIZES), 2, 100), 1 + off * percent / 100)
            ratios[kind][..., :wrong] = 1.06
            ratios[kind][0] = 9
        return [verdict.holds for verdict in study.judge(ratios)]

    assert holds(0.9, 5) == [True] * 15 + [True] * 2
    assert holds(1.1, 5) == [False] * 15 + [True] * 2
    assert holds(0.9, 6) == [True] * 15 + [False] * 2
