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
