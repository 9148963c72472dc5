"""What a process of the bench of devices does: it compiles everyone's step in every way, and times them in turns."""

from __future__ import annotations

import functools
import hashlib
import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from experiments.bench import turns
from experiments.bench.collectives import collectives
from experiments.bench.ways import LAYERS, problem, steps, ways

# What `turn` calls in this process, by way and layer.
_calls: dict[tuple[str, str], Callable[[], Any]] = {}


def digest(results: Any) -> str:
    """Of the bits of all numbers."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(results))).hexdigest()


def prepare(shape: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Compile everything; for every way and layer collectives, seconds to compile, and the digest of the results."""
    variables, x = problem(shape)
    chosen = [(name, way) for name, way in ways(jax.devices()).items() if name in names]
    found = []
    for (name, way), (label, layer) in itertools.product(chosen, LAYERS.items()):
        one = layer(use_running_average=False, axis_name=way.axis_name)
        programs, seconds = {}, {}
        try:
            with warnings.catch_warnings():
                # Some versions of JAX announce the end of pmap wherever it is used.
                warnings.filterwarnings("error", r".*\bpmap\b", DeprecationWarning)
                arguments = way.place(variables, x)
                for mode, step in steps(one, way).items():
                    start = time.perf_counter()
                    programs[mode] = way.compiled(step).lower(*arguments).compile()
                    seconds[mode] = time.perf_counter() - start
        except DeprecationWarning:
            continue
        call = _calls[name, label] = functools.partial(programs["forward+backward"], *arguments)
        counted = {mode: len(collectives(program.as_text())) for mode, program in programs.items()}
        numbers = {"collectives": counted, "seconds": seconds, "digest": digest(call())}
        found.append({"way": name, "devices": jax.device_count(), "layer": label, **numbers})
    return found


def turn(least: float, number: int) -> dict[tuple[str, str], float]:
    """Milliseconds per call of everyone in this round."""
    return turns.one_round(_calls, least=least, number=number)
