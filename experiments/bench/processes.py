"""Processes that see so many CPU devices each."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import jax


def see(devices: int) -> None:
    """Let this process see so many CPU devices, before it has seen any."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


@contextlib.contextmanager
def processes(counts: Sequence[int]) -> Iterator[dict[int, ProcessPoolExecutor]]:
    """By the number of devices a process that sees so many, to submit work to."""
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        yield {n: stack.enter_context(ProcessPoolExecutor(1, spawn, see, (n,))) for n in counts}
