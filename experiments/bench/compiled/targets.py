"""The steps of a layer and of a net, and their programs, compiled for an accelerator that is not here."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.interpreters import partial_eval
from jax.sharding import SingleDeviceSharding

from experiments.bench.compiled import program
from experiments.bench.opened import opened
from experiments.bench.peers import norms
from experiments.bench.stages import stages
from experiments.harness.errors import UserError

# Without these libtpu looks for the TPU of this machine, and the CUDA plugin for its driver.
TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
# What needs a GPU to try is not tried.
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


def place(target: Target) -> SingleDeviceSharding:
    """One device of the target, to compile for."""
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
    return SingleDeviceSharding(topology.devices[0])


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


def steps(norm: Any, x: Any) -> tuple[dict[str, Callable[..., Any]], list[jax.Array]]:
    """Training forward, and with the backward pass, as functions of the layer's arrays and the data; the arrays."""
    layer, arrays = opened(norm, x, train=True)

    def forward(arrays: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        y, *remembered = layer(arrays, x)
        # What a layer only hands on would be copied.
        return y.astype(x.dtype), [a for a in remembered if all(a is not given for given in arrays)]

    jaxpr = jax.make_jaxpr(forward)(arrays, x).jaxpr
    used = partial_eval.dce_jaxpr(jaxpr, [True] + [False] * (len(jaxpr.outvars) - 1))[1]
    # Running statistics have no part in the output, and no gradient.
    learnt = [i for i, a in enumerate(arrays) if used[i] and jnp.issubdtype(a.dtype, jnp.inexact)]

    def both(arrays: list[jax.Array], x: jax.Array) -> Any:
        def of_learnt(some: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            chosen = dict(zip(learnt, some, strict=True))
            return forward([chosen.get(i, a) for i, a in enumerate(arrays)], x)

        y, pull, remembered = jax.vjp(of_learnt, [arrays[i] for i in learnt], x, has_aux=True)
        # The next layer of a net reads the output from memory.
        y = jax.lax.optimization_barrier(y)
        return pull(jax.grad(lambda y: jnp.sum(jax.nn.relu(y).astype(jnp.float32) ** 2))(y)), remembered

    return {"forward": forward, "forward+backward": both}, arrays


def measure(shape: Sequence[int], dtype: str, target: Target, there: Any) -> list[dict[str, Any]]:
    """Everyone's numbers for either mode."""
    x = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    found: dict[str, dict[str, Any]] = {}
    # The layers are made on this machine, which one example of one pixel is enough for.
    for name, norm in norms([*(1 for _ in shape[1:]), shape[-1]]).items():
        functions, arrays = steps(norm, x)
        for mode, step in functions.items():
            found.setdefault(mode, {})[name] = compiled(step, (arrays, x), target, there)
    size = x.size * x.dtype.itemsize
    return [{"shape": list(shape), "dtype": dtype, "size": size, "mode": m, "layers": f} for m, f in found.items()]
