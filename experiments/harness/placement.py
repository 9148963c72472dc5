"""Where programs run, and the two doors between them and NumPy: `place` in, `fetch` out.

What suits a CPU differs from what suits an accelerator; only here is asked which it is. Where the data set lies decides
where all that is computed with it runs: on one device, or on all devices of a mesh, which may belong to several
processes. There states and data are whole on every device, and each has its part of every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Pytree = Any
_AXIS = "devices"
# All of an array on every device.
WHOLE = PartitionSpec()


def on_cpu() -> bool:
    """Whether programs run on a CPU, as they do where no accelerator is found."""
    return jax.default_backend() == "cpu"


def on_mesh() -> bool:
    """Whether the program that is being traced is for several devices."""
    return not jax.sharding.get_abstract_mesh().empty


def mesh_over(devices: Sequence[jax.Device]) -> Mesh:
    """A mesh whose one axis is made of these devices."""
    return Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,))


def mesh_of(tree: Pytree) -> Mesh | None:
    """The mesh that a tree was placed on; `None` for a tree on one device."""
    sharding = getattr(jax.tree.leaves(tree)[0], "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh) else None


def place(tree: Pytree, mesh: Mesh | None = None) -> Pytree:
    """States and data on the device that programs run on; with a mesh, whole on each of its devices."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda leaf: _put(leaf, NamedSharding(mesh, WHOLE)), tree)


def share(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """An array `[seeds, steps, examples, ...]`, with a part of the examples on each device."""
    return _put(array, NamedSharding(mesh, PartitionSpec(None, None, _AXIS)))


def fetch(tree: Pytree) -> Pytree:
    """Results as NumPy arrays; the keys of a dict come back sorted, as from all trees."""
    return jax.tree.map(np.asarray, tree)


def _put(array: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    if isinstance(array, jax.Array) and array.sharding == sharding:
        return array
    # Every process has all of the array, and puts on its devices what is theirs.
    values = np.asarray(array)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
