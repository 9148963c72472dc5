"""What one layer sends when its step is compiled for several devices: those here, or TPUs that are not here."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import jaxbn.linen
from experiments.bench.ahead_of_time.targets import TARGETS, devices
from experiments.bench.collectives import collectives
from experiments.bench.ways import LAYERS, MODES, Step, problem, spread, steps, ways

# With a sharded batch nothing more is said; with an `axis_name` the layer is told of the devices.
WAYS = ("jit-sharded", "shard_map")
# Of the data on each device: a layer in the third stage of a ResNet.
PART = (8, 14, 14, 256)
# Another row of the tables is another entry here: a layer of Flax's, made from `use_running_average` and `axis_name`.
# The ghosts of a device are what it holds.
NORMS: dict[str, Callable[..., nn.BatchNorm]] = {
    **LAYERS,
    "jaxbn, ghosts": functools.partial(jaxbn.linen.BatchNorm, ghost_size=PART[0]),
}
# What the next layer waits for, and the one before: the output, and the gradient by the data.
DATA = "data"
TPU = TARGETS["tpu-v5e"]


def sent(there: Sequence[jax.Device], dtype: str, platform: str) -> list[dict[str, Any]]:
    """Of every way and layer the collectives of both modes and of the data alone, and the seconds to compile."""
    whole, parts = spread(there)
    variables = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), problem(PART)[0])
    x = jax.ShapeDtypeStruct((PART[0] * len(there), *PART[1:]), jnp.dtype(dtype), sharding=parts)
    found = []
    for name, way in ((name, ways(there)[name]) for name in WAYS):
        for layer, norm in NORMS.items():
            one = norm(use_running_average=False, axis_name=way.axis_name)
            began, made = time.perf_counter(), {}
            programs = steps(one, way)
            for mode, step in (*programs.items(), (DATA, _data(programs[MODES[1]]))):
                program = way.compiled(step).trace(variables, x).lower(lowering_platforms=(platform,)).compile()
                listed = collectives(program.as_text())
                made[mode] = [{"what": str(c), "bytes": c.bytes} for c in listed]
            seconds = time.perf_counter() - began
            found.append({"way": name, "layer": layer, "collectives": made, "seconds": seconds})
    return found


def _data(both: Step) -> Step:
    """Only the gradient by the data, which the output is needed for: neither running statistics nor parameters."""
    return lambda variables, x: ((), both(variables, x)[1])


def here() -> dict[str, Any]:
    """For the devices that this process sees."""
    return _named("CPU", jax.devices(), "float32", "cpu")


def elsewhere(topology: str) -> dict[str, Any]:
    """For the TPUs of a topology, such as `v5e:4x4`."""
    return _named(topology, devices(dataclasses.replace(TPU, topology=topology)), "bfloat16", TPU.platform)


def _named(name: str, there: Sequence[jax.Device], dtype: str, platform: str) -> dict[str, Any]:
    known = {"where": name, "platform": platform, "device": there[0].device_kind, "devices": len(there), "dtype": dtype}
    return known | {"programs": sent(there, dtype, platform)}


def compiler_is_there() -> bool:
    """Whether the TPU's compiler is installed."""
    return importlib.util.find_spec(TPU.plugin) is not None


def compiled_for(topology: str) -> dict[str, Any]:
    """`elsewhere` in a process of its own, which the compiler ends where it can't go on; then `failed` says so."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _silence) as pool:
        try:
            return pool.submit(elsewhere, topology).result()
        except BrokenProcessPool:
            return {"where": topology, "failed": "the compiler ends its process"}
        except Exception as error:
            return {"where": topology, "failed": f"refused: {str(error).splitlines()[0]}"}


def _silence() -> None:
    """The compiler's own stack trace says less than the line in the table."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
