"""What a result was made with, told without importing anything for it."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.harness import environment
from experiments.harness.environment import describe_environment


def test_the_environment_names_device_and_versions() -> None:
    found = describe_environment()
    assert found["device"].startswith(jax.devices()[0].platform)
    assert {"python", "jaxbn", "jax", "flax", "optax", "numpy"} <= set(found["versions"])
    assert found["versions"]["jax"] == jax.__version__


def test_it_names_the_peers_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("pytest", "no-such-package"))
    assert set(describe_environment()["versions"]) == {"python", "jaxbn", "pytest"}
    assert {"dm-haiku", "equinox", "keras", "torch", "scikit-learn"} <= set(environment.PEERS)


@pytest.mark.slow
def test_it_imports_neither_flax_nor_optax() -> None:
    """The speed run measures itself from its first import on."""
    code = """
import sys
from experiments.harness.environment import describe_environment
assert {"flax", "optax"} <= set(describe_environment()["versions"])
print({"flax", "optax"} & set(sys.modules))
"""
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
