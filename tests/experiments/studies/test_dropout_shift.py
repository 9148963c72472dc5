"""The study of dropout's shift, small: random images many times, 20 features; 2 % for their mean, 5 % for each."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import dropout_shift as study
from tests.experiments import stand_in


@pytest.mark.slow
def test_the_ratio_is_the_predicted_one_of_each_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = stand_in.load_stand_in()
    many = images._replace(train_images=np.tile(images.train_images, (150, 1, 1)))
    monkeypatch.setattr(study, "load_kept", lambda *_, **__: many)
    monkeypatch.setattr(study, "FEATURES", 20)
    assert study.main(["--seed", "0", "--seeds", "2", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["holds"] for verdict in summary["verdicts"]] == [True, True]
    measured, predicted = (np.asarray(summary["measured"][name]) for name in ("ratios", "predicted"))
    np.testing.assert_allclose(measured, predicted, rtol=0.05)
    assert measured.shape == (2, 2, 20)


@pytest.mark.parametrize(("ratio", "holds"), [(1.019, True), (0.981, True), (1.021, False), (0.979, False)])
def test_verdicts(ratio: float, holds: bool) -> None:
    assert [verdict.holds for verdict in study.judge(np.full((2, 2, 20), ratio))] == [holds] * 2
