"""The presets give the numbers that each framework documents, from one batch worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm, presets
from tests.tolerances import TOLERANCE, assert_close

X = jnp.asarray([[2.0], [4.0], [6.0], [12.0]])  # mean 6, variance 56/4 = 14, unbiased 56/3
# The weight of the new batch, the variance it brings, and epsilon.
DOCUMENTED = {
    "FLAX": (0.01, 14, 1e-5),  # BatchNorm(momentum=0.99, epsilon=1e-5)
    "TORCH": (0.1, 56 / 3, 1e-5),  # BatchNorm1d(momentum=0.1, eps=1e-5), the weight of the new batch
    "KERAS": (0.01, 14, 1e-3),  # BatchNormalization(momentum=0.99, epsilon=1e-3)
    "SLIM": (0.001, 14, 1e-3),  # batch_norm(decay=0.999, epsilon=1e-3)
    "TUTORIAL": (0.9, 14, 1e-5),  # decay 0.1, the weight of the old batch
}


def test_every_preset_is_here():
    assert {name for name in vars(presets) if name.isupper()} == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_numbers(name):
    new, variance, epsilon = DOCUMENTED[name]
    y, state = batch_norm(*init_batch_norm(1), X, True, **getattr(presets, name))
    assert_close(y, (np.asarray(X) - 6) / np.sqrt(14 + epsilon), TOLERANCE["float32"])
    expected = (np.array([6 * new]), np.array([1 - new + variance * new]), 1)
    assert_close(state, expected, TOLERANCE["float32"])
    assert_close(state.var - 1, expected[1] - 1, 1e-6)
