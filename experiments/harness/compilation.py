"""Compiled programs, kept between runs."""

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
