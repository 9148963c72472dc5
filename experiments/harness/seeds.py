"""All seeds at once: on a CPU side by side in lanes, on accelerators and on several devices as one program.

On a CPU each seed runs in the compiled program that it has alone: that is faster there than one program of them all,
and a seed's results are to the last bit those that it has alone. An accelerator would mostly wait between the small
kernels of a single seed; `vmap` fills it. Several devices wait for each other within a program: two programs at once
could each hold a device that the other waits for, for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from experiments.harness.lanes import compile_once, map_lanes
from experiments.harness.placement import WHOLE, fetch, mesh_of, on_cpu, place, share
from experiments.harness.processes import activity

T = TypeVar("T")


def for_all_seeds(function: Callable[[Any, Any, Any, Any], T]) -> Callable[[Any, Any, Any, Any], T]:
    """`(data, count, state, indices) -> result` of one seed, for all: the last two get an axis of seeds.

    Where the data lie on several devices, these share the second axis of a seed's indices.
    """
    of_all = jax.vmap(function, in_axes=(None, None, 0, 0))
    alone, together = compile_once(function), compile_once(of_all)
    shared = jax.jit(of_all, out_shardings=WHOLE)

    def call(data: Any, count: Any, state: Any, indices: Any) -> T:
        if (mesh := mesh_of(data)) is not None:
            activity.begin()
            with jax.set_mesh(mesh):
                return jax.block_until_ready(shared(data, count, place(state, mesh), share(indices, mesh)))
        if not on_cpu():
            return together(data, count, state, indices)
        return stack(map_lanes(functools.partial(alone, data, count), unstack(state), list(indices)))

    return call


def stack(members: Sequence[T]) -> T:
    """One pytree with a leading axis of seeds."""
    return place(jax.tree.map(lambda *leaves: np.stack(leaves), *members))


def unstack(state: T) -> list[T]:
    """The states of the seeds, one by one."""
    arrays = fetch(state)
    seeds = len(jax.tree.leaves(arrays)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], arrays) for i in range(seeds)]
