"""The study of the growth of weights, small: two layers and 30 steps; the tolerances are those of the study."""

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
