"""Batches that are moved, and later passes over the hardest images."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.hardest import training
from experiments.hardest.training import Recipe


def test_a_batch_is_moved_as_one_and_zeros_come_in() -> None:
    x = jnp.arange(1.0, 33.0).reshape(4, 4, 2)
    moved = training.shifted(x, jnp.array([2, 0]), 1)
    expected = np.zeros((4, 4, 2))
    expected[:-1, 1:] = x[1:, :-1]
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(training.shifted(x, jnp.array([1, 1]), 1), x)


def test_later_passes_take_the_hardest_images() -> None:
    recipe, images = Recipe(passes=3, hardest=0.25, batch_size=10, recalibrate=10), np.zeros((80, 28, 28), np.uint8)
    assert recipe.steps(80) == [8, 2, 2]
    orders = []

    def train(carry: Any, order: np.ndarray, shifts: Any, first: int, count: int, *_: Any) -> Any:
        orders.append((int(first), order[:count].reshape(-1)))
        # As if image n had the loss n.
        return carry._replace(losses=jnp.arange(80.0))

    init = lambda _: training.Carry((), (), (), jnp.zeros(80))  # noqa: E731
    programs = training.Programs(init, train, lambda *_: "recalibrated", lambda *_: 0)
    carry = training.train_once(programs, recipe, 0, images, np.zeros(80, np.uint8))
    assert carry.state == "recalibrated"
    assert [first for first, _ in orders] == [0, 8, 10]
    np.testing.assert_array_equal(np.sort(orders[0][1]), np.arange(80))
    for _, order in orders[1:]:
        np.testing.assert_array_equal(np.sort(order), np.arange(60, 80))
    assert (orders[1][1] != orders[2][1]).any()
