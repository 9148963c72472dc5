"""What a process of the scaling bench does: it compiles everyone's step over all devices it sees, and times them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.bench import turns
from experiments.bench.collectives import collectives
from experiments.bench.scaling.net import Net, examples, start, step
from experiments.bench.ways import LAYERS, spread

STEPS = 20
# What `turn` calls in this process, by kind of scaling and layer.
_calls: dict[tuple[str, str], Callable[[], Any]] = {}


def prepare(devices: int, batches: dict[str, int]) -> list[dict[str, Any]]:
    """Compile everything.

    Args:
        devices: how many.
        batches: by kind of scaling the size of the whole batch.

    Returns:
        Of every kind and layer: seconds to compile, number of collectives, loss and variables after `STEPS` steps.
    """
    whole, parts = spread(jax.devices()[:devices])
    found: list[dict[str, Any]] = []
    # With the most devices both kinds are the same program.
    made: dict[tuple[str, int], tuple[Any, float]] = {}
    for kind, batch in batches.items():
        for layer, norm in LAYERS.items():
            net = Net(norm)
            variables = jax.device_put(start(net), whole)
            data = jax.device_put(examples(batch), parts)
            if (layer, batch) not in made:
                began = time.perf_counter()
                lowered = jax.jit(functools.partial(step, net), out_shardings=whole).lower(variables, *data)
                made[layer, batch] = lowered.compile(), time.perf_counter() - began
            program, seconds = made[layer, batch]
            _calls[kind, layer] = functools.partial(program, variables, *data)
            for _ in range(STEPS):
                variables, loss = program(variables, *data)
            leaves = [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(variables)]
            found.append(
                {"kind": kind, "devices": devices, "layer": layer, "batch": batch, "seconds": seconds}
                | {"collectives": len(collectives(program.as_text())), "loss": float(loss)}
                | {"variables": [number for leaf in leaves for number in leaf]}
            )
    return found


def turn(least: float, number: int) -> dict[str, dict[tuple[str, str], float]]:
    """Milliseconds per step of everyone in this round, by the clock and of the processors."""
    clocks = {"milliseconds": time.perf_counter, "processors": time.process_time}
    return {name: turns.one_round(_calls, least=least, number=number, clock=c) for name, c in clocks.items()}
