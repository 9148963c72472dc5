"""What a result was made with, told without importing anything for it."""

import jax
import pytest

from experiments.harness import environment
from experiments.harness.environment import describe_environment
from tests.sources import modules_after


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
    loaded = modules_after("from experiments.harness import environment; environment.describe_environment()")
    assert not {"flax", "optax"} & loaded
