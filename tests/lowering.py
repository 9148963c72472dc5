"""The lowering of every platform, on the CPU of the tests."""

import contextlib

import jax
import pytest

from jaxbn._reduce import primitives


@contextlib.contextmanager
def lowered_plainly(plainly):
    """Within, programs of one device on a CPU are lowered as on every other platform."""
    with pytest.MonkeyPatch.context() as patch:
        if plainly:
            patch.setattr(primitives, "devices_of", lambda _: None)
            jax.clear_caches()
        yield
    if plainly:
        jax.clear_caches()
