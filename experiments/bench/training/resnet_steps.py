"""A training step of Flax's ResNets with everyone's batch norm: seconds until it is compiled, its time, its memory."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.resnets import CLASSES, LINEN, NNX, resnet
from experiments.bench.stages import stages
from experiments.harness.tables import Table


def measure(
    sources: Path, depth: int, names: Sequence[str], images: jax.ShapeDtypeStruct, *, rounds: int, compilations: int
) -> dict[str, Any]:
    """Everyone's seconds to trace, lower and compile, milliseconds of every round, temporary bytes, lines to compile.

    Args:
        sources: Flax's sources.
        depth: of the ResNet, 18 or 50.
        names: of the norms, of `resnets.LINEN` and `resnets.NNX`.
        images: their shape, and the dtype of the net.
        rounds: how often everyone makes a step, in turns.
        compilations: how often everyone is traced, lowered and compiled; the median counts, and the first trace of
            all pays for imports.
    """
    rng = np.random.default_rng(0)
    data = jnp.asarray(rng.standard_normal(images.shape, np.float32), images.dtype)
    labels = jnp.asarray(rng.integers(0, CLASSES, len(data), np.int32))
    steps: dict[str, Callable[..., Any]] = {}
    arguments: dict[str, tuple[Any, ...]] = {}
    for norms in (LINEN, NNX):
        chosen = [name for name in norms if name in names]
        for name in chosen:
            steps[name], start = resnet(sources, depth, norms[name], images)
        if chosen:
            # One start is enough: here all have the same variables.
            arguments |= dict.fromkeys(chosen, (*jax.jit(start)(jax.random.key(0)), data, labels))

    seconds: dict[str, list[list[float]]] = {name: [] for name in steps}
    lowered, made = {}, {}
    for _ in range(compilations):
        for name, step in steps.items():
            # Nobody finds what another has traced, or pays for what another has left.
            jax.clear_caches()
            gc.collect()
            lowered[name], made[name], taken = stages(step, arguments[name])
            seconds[name].append(taken)

    times: dict[str, list[float]] = {name: [] for name in steps}
    # The first round is not counted: it touches its memory for the first time.
    for number in range(rounds + 1):
        for name, program in made.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(*arguments[name]))
            if number:
                times[name].append(round((time.perf_counter() - begun) * 1e3, 3))
    found = {
        name: {
            "milliseconds": times[name],
            "temporary": made[name].memory_analysis().temp_size_in_bytes,
            "seconds": [statistics.median(stage) for stage in zip(*seconds[name], strict=True)],
            "lines": len(lowered[name].as_text().splitlines()),
        }
        for name in steps
    }
    return {"depth": depth, "images": list(images.shape), "dtype": str(images.dtype), "norms": found}


def table(measured: dict[str, Any]) -> Table:
    """A row for every norm."""
    batch, height, width, _ = measured["images"]
    medians = {name: statistics.median(n["milliseconds"]) for name, n in measured["norms"].items()}
    body = [
        [
            name,
            f"{medians[name]:.1f}",
            f"{medians[name] / medians['jaxbn']:.3f}",
            f"{n['temporary'] / 1e6:.1f}",
            *(f"{s:.2f}" for s in (*n["seconds"], sum(n["seconds"]))),
            f"{n['lines']}",
        ]
        for name, n in measured["norms"].items()
    ]
    net = f"A training step of Flax's ResNet-{measured['depth']}, {height}x{width}, batch {batch}, {measured['dtype']}"
    title = f"{net}; nnx by Flax's bridge to linen, which takes a part of its time to trace"
    heads = ["norm", "ms a step", "ms / jaxbn", "temporary MB", "s to trace", "s to lower", "s to compile", "s in all"]
    return Table(title, [*heads, "lines to compile"], body)
