"""The study of rates that are too large, on three problems, step by step beside the closed form in NumPy."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.harness.precision import computing_in
from experiments.studies import least_squares as study

SEEDS = np.arange(3)


def steps(rate: float, **options: Any) -> np.ndarray:
    with computing_in(float64=True):
        return jax.device_get(study.steps_needed(SEEDS, rate, **options))


def by_hand(seed: int, rate: float) -> int:
    """The steps that it takes with batch norm, in terms of the covariances alone, as in the paper."""
    with computing_in(float64=True):
        x, targets, w = map(np.asarray, study.problem(jax.random.key(seed)))
    inner, outer = x.T @ x / len(x), x.T @ targets / len(x)
    rate, scale, errors = rate / np.linalg.eigvalsh(inner)[-1], 1.0, list[float]()
    while not errors or errors[-1] > study.VANISHED * errors[0]:
        std = np.sqrt((w.T @ inner @ w).item())
        along = (outer.T @ w).item() / std
        errors.append(np.mean(targets**2) / 2 - scale * along + scale**2 / 2)
        slope = scale * (along / std**2 * inner @ w - outer / std)
        scale, w = scale - study.SCALE_RATE * (scale - along), w - rate * slope
    return len(errors) - 1


def test_without_batch_norm_the_limit_is_2() -> None:
    assert (steps(1.99, normalized=False) > 0).all()
    assert (steps(2.01, normalized=False) < 0).all()
    assert np.isinf(steps(1.99, normalized=False, most=5)).all()


@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_with_batch_norm_there_is_none_and_each_step_is_that_of_the_paper(rate: float) -> None:
    np.testing.assert_array_equal(steps(rate, normalized=True), [by_hand(seed, rate) for seed in SEEDS])


def test_ten_times_the_rate_takes_ten_times_the_steps() -> None:
    np.testing.assert_allclose(np.mean(steps(1e3, normalized=True) / steps(1e2, normalized=True)), 10, rtol=0.05)


def needed(seeds: np.ndarray, rate: float, *, normalized: bool, power: float = 1.0) -> np.ndarray:
    """As it should be, but for the power."""
    return 50.0 + 10 * seeds + 100 * rate**power if normalized else np.full(len(seeds), np.sign(2 - rate))


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "steps_needed", needed)
    assert study.main(["--seeds", "2", "--seed", "0", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["holds"] for verdict in summary["verdicts"]] == [True] * 4
    assert (tmp_path / "least_squares.png").stat().st_size > 10_000


def test_verdicts() -> None:
    plain = np.stack([needed(SEEDS, rate, normalized=False) for rate in study.PLAIN])
    off = np.stack([needed(SEEDS, rate, normalized=True, power=1.03) for rate in study.NORMALIZED])
    assert [verdict.holds for verdict in study.judge(plain, off)] == [True, True, True, False]
    assert [verdict.holds for verdict in study.judge(-plain, off)] == [False, False, True, False]
    for neither_one in (np.inf, -5.0):
        off[2, 1] = neither_one
        assert not study.judge(plain, off)[2].holds
