"""The cache of compiled programs: where it lies, and when it is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness import compilation

PROGRAM = """
import jax
from experiments.harness.compilation import cache_compilations
cache_compilations()
print(jax.config.jax_compilation_cache_dir)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
"""


def chosen(environment: dict[str, str]) -> list[str]:
    """What a fresh process chooses: the folder, and of which programs on."""
    command = [sys.executable, "-c", PROGRAM]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_it_lies_in_the_users_cache_folder(tmp_path: Path) -> None:
    assert chosen({"HOME": str(tmp_path)}) == [str(tmp_path / ".cache" / "jaxbn" / "xla"), "0.1"]
    assert chosen({"HOME": "/", "XDG_CACHE_HOME": str(tmp_path / "x")}) == [
        str(tmp_path / "x" / "jaxbn" / "xla"),
        "0.1",
    ]


def test_a_relative_cache_folder_is_ignored(tmp_path: Path) -> None:
    expected = [str(tmp_path / ".cache" / "jaxbn" / "xla"), "0.1"]
    assert chosen({"HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"}) == expected


@pytest.mark.parametrize("blocked", ["file", "file/below"])
def test_without_a_folder_there_is_none(blocked: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert chosen({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / blocked)})[0] == "None"


def test_the_users_own_choice_stays(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    assert chosen(environment) == [str(tmp_path / "own"), "0.1"]
    assert chosen({**environment, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "7"}) == [str(tmp_path / "own"), "7.0"]


@pytest.mark.parametrize("own", ["", "--xla_dump_to=/nowhere", "--xla_backend_extra_options=xla_cpu_optimize_for_size"])
def test_loops_are_not_unrolled_unless_the_user_has_other_wishes(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", own)
    for _ in range(2):
        compilation.leave_loops_rolled()
    ours = "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling"
    assert os.environ["XLA_FLAGS"] == (own if "extra_options" in own else f"{own} {ours}".strip())


def test_the_compiler_takes_it() -> None:
    program = """
import jax
from experiments.harness.compilation import leave_loops_rolled
leave_loops_rolled()
print(jax.jit(lambda x: 2 * x).lower(jax.numpy.ones(3)).compile()(jax.numpy.ones(3)).sum())
"""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("6.0\n", "")
