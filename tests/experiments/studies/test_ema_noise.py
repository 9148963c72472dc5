"""The study of a running mean's noise, small: a tenth of the features; tolerances of 10 and, for variances, 1.5 %."""

import numpy as np
import pytest

from experiments.studies import ema_noise


@pytest.mark.parametrize("momentum", [0.1, 0.9])
def test_spread_and_variances_are_the_predicted_ones(momentum: float) -> None:
    found = [ema_noise.running(seed, momentum, steps=100, features=100) for seed in range(20)]
    spreads, variances = (np.mean(of_all, axis=0) for of_all in zip(*found, strict=True))
    np.testing.assert_allclose(spreads, ema_noise.predicted(momentum), rtol=0.1)
    # 2,000 features: a standard error of half a percent at the smaller momentum.
    np.testing.assert_allclose(variances, [31 / 32, 1], rtol=0.015)
