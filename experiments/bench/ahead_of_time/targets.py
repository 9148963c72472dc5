"""Programs compiled for an accelerator that is not here."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from experiments.bench.ahead_of_time import program
from experiments.bench.stages import stages
from experiments.harness.errors import UserError

# Without these libtpu looks for the TPU of this machine, and the CUDA plugin for its driver.
TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
# Autotuning runs kernels on the GPU, and there is none.
GPU = {
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "XLA_FLAGS": "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Where its compiler comes from, and what the compiler has to know."""

    platform: str
    plugin: str
    extra: str
    topology: str
    variables: dict[str, str]


TARGETS = {
    "tpu-v5e": Target("tpu", "libtpu", "aot-tpu", "v5e:2x2", TPU | {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}),
    "tpu-v6e": Target("tpu", "libtpu", "aot-tpu", "v6e:2x2", TPU | {"TPU_ACCELERATOR_TYPE": "v6e-4"}),
    "h100": Target("cuda", "jax_plugins.xla_cuda13", "aot-cuda", "h100", GPU),
}


def devices(target: Target) -> list[Any]:
    """The devices of the target, to compile for."""
    try:
        importlib.import_module(target.plugin)
    except ImportError:
        raise UserError(
            f"The compiler for this target is not installed ({target.plugin}); `pip install -e '.[{target.extra}]'`."
        ) from None
    for name, value in {"JAX_PLATFORMS": "cpu", **target.variables}.items():
        os.environ.setdefault(name, value)
    # JAX has read its variable already, when it was imported.
    jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
    if target.platform == "tpu":
        topology = topologies.get_topology_desc(target.topology, "tpu")
    else:
        config = (Path(__file__).parent / f"{target.topology}.txtpb").read_text()
        topology = topologies.get_topology_desc(
            target.topology, target.platform, topology="1x1x1", target_config=config
        )
    return topology.devices


def place(target: Target) -> SingleDeviceSharding:
    """One device of the target."""
    return SingleDeviceSharding(devices(target)[0])


def compiled(step: Callable[..., Any], arguments: Sequence[Any], target: Target, there: Any) -> dict[str, Any]:
    """What the step moves when it is compiled for the target, and how long that took."""
    placed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), arguments)
    _, made, seconds = stages(step, placed, target.platform)
    read = program.read(made.as_text())
    memory: Any = made.memory_analysis()
    return {
        **{name: getattr(read, name) for name in ("bytes", "kernels", "cycles", "lines")},
        "temporary": memory.temp_size_in_bytes,
        "seconds": seconds,
    }
