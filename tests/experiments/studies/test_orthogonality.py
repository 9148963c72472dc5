"""The study of orthogonality, small: narrower nets of half the layers, and a tolerance of 0.05."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import orthogonality as study


@pytest.mark.slow
def test_the_gap_falls_with_the_root_of_the_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIDTHS": (16, 128), "LAYERS": 100, "SETTLED": 30}.items():
        monkeypatch.setattr(study, name, value)
    assert study.main(["--seed", "0", "--seeds", "8", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    np.testing.assert_allclose([np.mean(verdict["values"]) for verdict in summary["verdicts"]], -0.51, atol=0.05)
    # Centred samples are as far from orthogonal as they can't but be.
    centred = summary["measured"]["gaps"][study.CENTRED][-1]
    np.testing.assert_allclose(centred, 1 / np.sqrt(12), rtol=0.1)


def test_the_gap_of_orthogonal_and_of_equal_samples() -> None:
    np.testing.assert_allclose(study.gap(3 * np.eye(4, 6, dtype=np.float32)), 0, atol=1e-6)
    np.testing.assert_allclose(study.gap(np.ones((4, 6), np.float32)), np.sqrt(3) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("slopes", "holds"),
    [([-0.55, -0.46], [True, True]), ([-0.54, -0.54], [False, True]), ([-0.57, -0.44], [True, False])],
)
def test_verdicts(slopes: list[float], holds: list[bool]) -> None:
    settled = np.asarray(study.WIDTHS)[:, None] ** np.array(slopes)
    assert [verdict.holds for verdict in study.judge(settled)] == holds
