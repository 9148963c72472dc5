"""The two doors between NumPy and the devices."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import placement

TREE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": (np.int32(7), np.zeros((0, 2), np.uint8))}


def test_what_is_placed_comes_back_to_the_last_bit() -> None:
    placed = placement.place(TREE)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    back = placement.fetch(placed)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(back))
    for got, expected in zip(jax.tree.leaves(back), jax.tree.leaves(TREE), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


def test_what_is_there_stays_there() -> None:
    x = jnp.arange(3)
    assert placement.place(x) is x
