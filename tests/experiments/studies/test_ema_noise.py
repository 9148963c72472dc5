"""The study of a running mean's noise, small: a tenth of the features and a tolerance of 10 %."""

import numpy as np
import pytest

from experiments.studies import ema_noise


@pytest.mark.parametrize("momentum", [0.1, 0.9])
def test_the_spread_is_the_predicted_one(momentum: float) -> None:
    spreads = [float(ema_noise.spread(seed, momentum, steps=100, features=100)) for seed in range(20)]
    np.testing.assert_allclose(np.mean(spreads), ema_noise.predicted(momentum), rtol=0.1)
