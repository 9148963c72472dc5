"""The bench of rules for population statistics."""

import json
from pathlib import Path

import numpy as np

from experiments.bench import recalibration


def test_ours_is_exact_and_the_average_is_not() -> None:
    off = {}
    for name, batches in recalibration.kinds().items():
        exact, ours, average = (
            rule(batches) for rule in (recalibration.exact, recalibration.ours, recalibration.averaged)
        )
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-6)
        off[name] = abs(average[1] / exact[1] - 1)
    assert off["6 of 64, sorted by class"] > 0.5
    assert off["8 of 64, alike"] < 0.02
    assert np.isnan(off["200 of 1"])


def test_it_writes_its_tables(tmp_path: Path) -> None:
    assert recalibration.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert found["Variance of all values, by rule"]["200 of 1"]["average over batches (AIMET)"] == "none"
    assert "| 8 of 64, alike |" in (tmp_path / "summary.md").read_text()
