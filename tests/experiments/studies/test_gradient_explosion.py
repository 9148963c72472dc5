"""The study of exploding gradients, small: a fifth of the width, 6 seeds, batches of 8, and a tolerance of 4 %.

Deeper than the study, and fitted to the first layers: a wrong derivative of the mean shows the more the deeper it is.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.studies import gradient_explosion as study


@pytest.mark.slow
@pytest.mark.parametrize("activation", [study.RELU, study.LINEAR])
def test_gradients_grow_as_predicted(activation: str) -> None:
    norms = [np.asarray(study.squared_norms(seed, activation, 8, 200, 30)) for seed in range(6)]
    np.testing.assert_allclose(study.factors(np.stack(norms), 2, 12).mean(), study.predicted(activation, 8), rtol=0.04)


def test_the_prediction() -> None:
    published = [1.7882, 1.5900, 1.5220, 1.4931, 1.4797, 1.4732]
    np.testing.assert_allclose([study.predicted(study.RELU, batch) for batch in study.BATCHES], published, atol=1e-4)
    np.testing.assert_allclose(study.predicted(study.RELU, 1e9), np.pi / (np.pi - 1), rtol=1e-6)
    batches = np.asarray(study.BATCHES)
    np.testing.assert_allclose(study.predicted(study.LINEAR, batches), (batches - 2) / (batches - 3), rtol=1e-12)


def test_verdicts() -> None:
    growth = {name: study.predicted(name, np.array(study.BATCHES))[:, None] for name in study.ACTIVATIONS}
    # Norms that grow from the last layer to the first.
    norms = growth[study.RELU][..., None] ** -np.arange(study.LAYERS)
    np.testing.assert_allclose(study.factors(norms, 5, 16), growth[study.RELU], rtol=1e-6)
    assert all(verdict.holds for verdict in study.judge(growth))
    assert not any(verdict.holds for verdict in study.judge({name: 2.1 - of for name, of in growth.items()}))


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def squared_norms(_seed: int, activation: str, batch: int, _width: int, layers: int) -> Any:
        return study.predicted(activation, batch) ** -np.arange(layers)

    monkeypatch.setattr(study, "squared_norms", squared_norms)
    assert study.main(["--seeds", "2", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["holds"] for verdict in summary["verdicts"]] == [True] * 9
    assert (tmp_path / "gradient_explosion.png").stat().st_size > 10_000
