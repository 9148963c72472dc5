"""Less to compile: programs are kept between runs, and loops are not unrolled."""

from __future__ import annotations

import os

import jax

from experiments.harness.cache import cache_folder


def cache_compilations() -> None:
    """Turn on JAX's persistent cache in the user's cache folder, unless the user has chosen one or it can't be made."""
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Most programs here compile faster than the default of a second, but there are a dozen of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def leave_loops_rolled() -> None:
    """Spare XLA's CPU compiler the unrolling of loops, unless the user has chosen such options.

    Unrolling is a fifth of the work of compiling a training step. It can only speed up short innermost loops, which
    nets that keep the batch in the last axis do not have. To be called before the first computation.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "--xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options=xla_cpu_disable_loop_unrolling".strip()
