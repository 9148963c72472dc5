"""A pytest plugin: runs Flax's own tests with its `BatchNorm` replaced by ours.

From the root of this repository, with Flax's sources beside it:

    pip download flax==0.12.8 --no-binary flax --no-deps --no-build-isolation && tar xzf flax-0.12.8.tar.gz
    python -m pytest -p tests.flax_suite flax-0.12.8/tests/linen flax-0.12.8/tests/nnx

Most of those tests build no batch norm. The last line says in how many of them one of ours was built.
"""

from __future__ import annotations

import functools

import flax.linen
import flax.nnx
import pytest

import jaxbn.linen
import jaxbn.nnx

_running = ""
_built = {"linen": set(), "nnx": set()}


def _counting(kind, method):
    @functools.wraps(method)
    def counted(*args, **kwargs):
        _built[kind].add(_running)
        return method(*args, **kwargs)

    return counted


def pytest_configure():
    # Here and not on import, since the collection of doctests imports every file.
    jaxbn.linen.BatchNorm.__post_init__ = _counting("linen", jaxbn.linen.BatchNorm.__post_init__)
    jaxbn.nnx.BatchNorm.__init__ = _counting("nnx", jaxbn.nnx.BatchNorm.__init__)
    flax.linen.BatchNorm = flax.linen.normalization.BatchNorm = jaxbn.linen.BatchNorm
    flax.nnx.BatchNorm = flax.nnx.nn.normalization.BatchNorm = jaxbn.nnx.BatchNorm


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    global _running
    _running = item.nodeid


def pytest_terminal_summary(terminalreporter):
    counts = ", ".join(f"jaxbn.{kind}.BatchNorm in {len(tests)} tests" for kind, tests in _built.items())
    terminalreporter.write_line(f"Built: {counts}.")
