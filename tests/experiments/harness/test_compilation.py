"""The cache of compiled programs: where it lies, and when it is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

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
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout.splitlines()


@pytest.mark.slow
def test_it_lies_in_the_users_cache_folder(tmp_path: Path) -> None:
    assert chosen({"HOME": str(tmp_path)}) == [str(tmp_path / ".cache" / "jaxbn" / "xla"), "0.1"]
    assert chosen({"HOME": "/", "XDG_CACHE_HOME": str(tmp_path / "x")}) == [
        str(tmp_path / "x" / "jaxbn" / "xla"),
        "0.1",
    ]


@pytest.mark.slow
def test_a_relative_cache_folder_is_ignored(tmp_path: Path) -> None:
    expected = [str(tmp_path / ".cache" / "jaxbn" / "xla"), "0.1"]
    assert chosen({"HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"}) == expected


@pytest.mark.slow
@pytest.mark.parametrize("blocked", ["file", "file/below"])
def test_without_a_folder_there_is_none(blocked: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert chosen({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / blocked)})[0] == "None"


@pytest.mark.slow
def test_the_users_own_choice_stays(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    assert chosen(environment) == [str(tmp_path / "own"), "0.1"]
    assert chosen({**environment, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "7"}) == [str(tmp_path / "own"), "7.0"]
