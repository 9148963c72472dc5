"""For long: the main job again and again in one process, very many steps, very many layers."""

import gc
import json
import os
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mnist import __main__ as mnist
from experiments.tutorial import runs
from jaxbn.linen import BatchNorm
from tests.experiments import stand_in

pytestmark = pytest.mark.faults


def megabytes() -> float:
    """What this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "load_kept", stand_in.load_stand_in)
    stand_in.shrink(monkeypatch)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no way here to see how much memory is held")
def test_the_main_job_twenty_times_in_one_process(tmp_path: Path) -> None:
    held = []
    for i in range(20):
        assert mnist.main(["--out", str(tmp_path / f"{i}"), "--steps", "4", "--seeds", "2"]) == 0
        gc.collect()
        held.append(round(megabytes()))
    print(held)
    assert {(tmp_path / f"{i}" / "mlp" / "metrics.jsonl").read_bytes() for i in range(20)} == {
        (tmp_path / "0" / "mlp" / "metrics.jsonl").read_bytes()
    }
    # The first runs fill caches of JAX and matplotlib.
    assert held[-1] - held[9] < 60, held


def test_fifty_thousand_steps_with_twenty_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "EVALUATE_EVERY", 5_000)
    monkeypatch.setattr("experiments.harness.training.STEPS_PER_DISPATCH", 100)
    before, begun = megabytes(), time.monotonic()
    flags = ["--steps", "50000", "--seeds", "20", "--models", "mlp-bn", "--out", str(tmp_path)]
    assert mnist.main(flags) == 0
    print(f"{time.monotonic() - begun:.0f} s, {before:.0f} to {megabytes():.0f} MB")
    records = [json.loads(line) for line in (tmp_path / "mlp-bn" / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 10 * 20
    assert all(np.isfinite(record["test_loss"]) for record in records)
    # The few images are known by heart then.
    assert all(record["train_acc"] > 0.99 for record in records[-20:])


class Tower(nn.Module):
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.layers):
            x = nn.relu(BatchNorm(use_running_average=False)(nn.Dense(4)(x)))
        return x


def test_a_thousand_layers_in_one_program() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32)
    model = Tower(1_000)
    begun = time.monotonic()
    variables = model.init(jax.random.key(0), x)
    y, new = jax.jit(lambda variables, x: model.apply(variables, x, mutable=["batch_stats"]))(variables, x)
    print(f"{time.monotonic() - begun:.0f} s")
    assert len(new["batch_stats"]) == 1_000
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, new)))
    # Each layer has had its own statistics, as far as float32 can be followed.
    expected = np.asarray(x, float)
    for i in range(5):
        of_layer = expected @ np.asarray(variables["params"][f"Dense_{i}"]["kernel"], float)
        stored = new["batch_stats"][f"BatchNorm_{i}"]["mean"]
        np.testing.assert_allclose(stored, 0.01 * of_layer.mean(0), rtol=1e-3, atol=1e-6)
        expected = np.maximum((of_layer - of_layer.mean(0)) / np.sqrt(of_layer.var(0) + 1e-5), 0)
