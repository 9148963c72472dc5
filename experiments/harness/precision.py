"""The precision in which a program computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def computing_in(*, float64: bool) -> Iterator[None]:
    """Let Python's `float`, as a dtype, be that of JAX's float64 in the block, in all threads, or its float32.

    In float32 sums of another order move a net by its last digits, and soon a value across a kink of relu or
    max-pooling: from there on it is another run. In float64 that is rare enough for thousands of steps.
    """
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", float64)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
