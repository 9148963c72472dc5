"""Differences seed by seed, and the standard error of their mean."""

import numpy as np
import pytest

from experiments.harness import paired


def test_a_standard_error_is_that_of_the_mean() -> None:
    # Their squared distances from their mean add up to 5: 5 / 3 is their variance, a fourth of it that of the mean.
    assert paired.standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx((5 / 12) ** 0.5)
    assert np.isnan(paired.standard_error([1.0]))


def test_what_seeds_have_in_common_cancels() -> None:
    luck = np.array([0.1, 0.5, 0.9])
    assert paired.points(luck + 0.02, luck) == "+2.00 ± 0.00"
    assert paired.points([0.72, 0.91], [0.70, 0.90]) == "+1.50 ± 0.50"
    assert paired.points([0.5], [0.6]) == "-10.00"
