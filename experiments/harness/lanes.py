"""Independent work at once. A compiled program waits for its cores after every operation; a second one fills the gaps.

What the work returns does not depend on what runs beside it: the compiled program and the order of its sums stay the
same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax

T = TypeVar("T")

# One per core that this process may use, and two where there is but one.
LANES = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
_pool = ThreadPoolExecutor(LANES, thread_name_prefix="lane")


def map_lanes(function: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
    """`[function(*of_one) for of_one in zip(*arguments)]`, as many at once as there are lanes."""
    if len(arguments[0]) == 1:
        return [function(*(of_all[0] for of_all in arguments))]
    return list(_pool.map(function, *arguments))


def compile_once(function: Callable[..., T]) -> Callable[..., T]:
    """`jax.jit` for arguments of one shape, compiled by the first lane that calls it while the others wait."""
    lock = threading.Lock()
    compiled: list[Any] = []

    def call(*arguments: Any) -> T:
        with lock:
            if not compiled:
                compiled.append(jax.jit(function).lower(*arguments).compile())
        return jax.block_until_ready(compiled[0](*arguments))

    return call
