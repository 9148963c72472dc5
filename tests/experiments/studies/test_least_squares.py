"""The study of rates that are too large, on three problems, step by step beside the closed form in NumPy."""

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
