"""Loops that are not unrolled: by a flag that the compiler takes, and that the user's own wishes override."""

import os
import subprocess
import sys

import pytest

from experiments.harness import rolled_loops
from tests.sources import ROOT


@pytest.mark.parametrize("own", ["", "--xla_dump_to=/nowhere", "--xla_backend_extra_options=xla_cpu_optimize_for_size"])
def test_loops_are_not_unrolled_unless_the_user_has_other_wishes(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", own)
    for _ in range(2):
        rolled_loops.leave_loops_rolled()
    ours = "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling"
    assert os.environ["XLA_FLAGS"] == (own if "extra_options" in own else f"{own} {ours}".strip())


@pytest.mark.slow
def test_the_compiler_takes_it() -> None:
    program = """
import jax
from experiments.harness.rolled_loops import leave_loops_rolled
leave_loops_rolled()
print(jax.jit(lambda x: 2 * x).lower(jax.numpy.ones(3)).compile()(jax.numpy.ones(3)).sum())
"""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("6.0\n", "")
