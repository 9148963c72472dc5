"""What the studies share: which training images statistics are taken from."""

import numpy as np

from experiments.tutorial import runs
from experiments.tutorial.experiment import draws


def test_draws_are_training_images_no_one_twice_and_differ() -> None:
    first, again, other = (draws([3, 4], number, 50) for number in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 50)
    assert all(len(np.unique(of_seed)) == 50 for of_seed in first)
    assert first.min() >= runs.VALIDATION
    assert first.max() < runs.VALIDATION + runs.TRAINING
    assert len({tuple(of_seed) for of_seed in (*first, *other)}) == 4
