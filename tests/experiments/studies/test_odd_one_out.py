"""The study of the odd one out, small: half of the width, a third of the layers, and wider bounds."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import odd_one_out as study


@pytest.mark.slow
def test_one_scale_for_all_leaves_one_out_and_batch_norm_no_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LAYERS": 100, "WIDTHS": {study.GLOBAL: 64, study.FEATURES: 128}}.items():
        monkeypatch.setattr(study, name, value)
    assert study.main(["--seed", "0", "--seeds", "8", "--out", str(tmp_path)]) == 0
    odd, cluster, kept = (np.mean(v["values"]) for v in json.loads((tmp_path / "summary.json").read_text())["verdicts"])
    assert odd < 0.02
    assert cluster > 0.85
    np.testing.assert_allclose(kept, study.predicted(32), atol=0.03)


def test_who_is_apart() -> None:
    together = np.array([[1, 0.9, 0.1, 0.8], [0.9, 1, 0.2, 0.7], [0.1, 0.2, 1, 0.3], [0.8, 0.7, 0.3, 1]])
    odd, cluster = study.apart(np.stack([together, np.ones((4, 4))]))
    np.testing.assert_allclose(odd, [0.2, 1])
    np.testing.assert_allclose(cluster, [0.8, 1])
    np.testing.assert_allclose(study.of_pairs(together), 0.5)
    np.testing.assert_allclose(study.predicted(32), 0.302, atol=5e-4)


@pytest.mark.parametrize(
    ("odd", "cluster", "kept", "holds"), [(0.01, 0.9, 0.32, True), (0.01, 0.9, 0.284, True), (0.011, 0.89, 0.28, False)]
)
def test_verdicts(odd: float, cluster: float, kept: float, holds: bool) -> None:
    verdicts = study.judge(*(np.array([value]) for value in (odd, cluster, kept)))
    assert [verdict.holds for verdict in verdicts] == [holds] * 3
