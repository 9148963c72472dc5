"""The stages of a program, and how long each takes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


def stages(
    step: Callable[..., Any], arguments: Sequence[Any], platform: str | None = None
) -> tuple[Any, Any, list[float]]:
    """The step lowered, for another platform than this one if it is given, and compiled, and the seconds it took.

    Returns:
        The lowered step, the compiled one, and the seconds to trace, lower and compile.
    """
    times = [time.perf_counter()]
    traced = jax.jit(step).trace(*arguments)
    times.append(time.perf_counter())
    lowered = traced.lower(lowering_platforms=None if platform is None else (platform,))
    times.append(time.perf_counter())
    made = lowered.compile()
    times.append(time.perf_counter())
    return lowered, made, [round(end - start, 3) for start, end in itertools.pairwise(times)]
