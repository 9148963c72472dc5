"""The study of rank, small: 4 seeds, 150 layers, and a little more room for each number."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.studies import rank as study


@pytest.mark.slow
def test_directions_stay_with_batch_norm_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "LAYERS", 150)
    assert study.main(["--seed", "0", "--seeds", "4", "--out", str(tmp_path)]) == 0
    relu, linear, collapsed = json.loads((tmp_path / "summary.json").read_text())["verdicts"]
    assert min(relu["values"]) >= 30
    assert min(linear["values"]) >= 8
    assert max(collapsed["values"]) <= 1.1


def test_directions_and_stable_rank() -> None:
    values = study.singular_values(np.diag([4.0, 2.0, 2.0, 0.003]))
    assert study.directions(values) == 3
    np.testing.assert_allclose(study.stable_rank(values), 1.5, rtol=1e-6)


@pytest.mark.parametrize(("kept", "second", "holds"), [(6, 0.2, True), (5, 0.25, False)])
def test_verdicts(kept: int, second: float, holds: bool) -> None:
    last = {name: np.array([[1.0] * kept + [0.0] * (32 - kept)] * 2) for name in study.NETS}
    verdicts = study.judge({**last, study.COLLAPSED: np.array([[1.0, second]])})
    assert [verdict.holds for verdict in verdicts] == [holds] * 3
