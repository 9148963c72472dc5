"""The two doors between NumPy and the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.several_devices
def test_on_a_mesh_each_device_has_all_of_it() -> None:
    mesh = placement.mesh_over(jax.devices()[:4])
    placed = placement.place(TREE, mesh)
    assert placement.mesh_of(placed) is mesh
    assert placement.mesh_of(placement.place(TREE)) is None
    for leaf, expected in zip(jax.tree.leaves(placed), jax.tree.leaves(TREE), strict=True):
        assert leaf.sharding.device_set == set(mesh.devices)
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, expected)
    again = placement.place(placed, mesh)
    assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(placed), strict=True))
    jax.tree.map(np.testing.assert_array_equal, placement.fetch(placed), TREE)


@pytest.mark.several_devices
def test_a_batch_is_cut_in_the_order_of_the_devices() -> None:
    indices = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    mesh = placement.mesh_over(jax.devices()[:4])
    shards = placement.share(indices, mesh).addressable_shards
    assert [shard.device for shard in shards] == list(mesh.devices)
    parts = [shard.data for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), indices)
    assert {part.shape for part in parts} == {(2, 3, 2)}


@pytest.mark.several_devices
def test_a_program_knows_whether_it_is_for_several_devices() -> None:
    told = []
    program = jax.jit(lambda x: told.append(placement.on_mesh()) or x)
    program(jnp.zeros(3))
    with jax.set_mesh(placement.mesh_over(jax.devices()[:2])):
        program(jnp.zeros(3))
    program(jnp.zeros(3))
    assert told == [False, True]
