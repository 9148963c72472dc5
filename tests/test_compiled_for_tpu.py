"""What the TPU's compiler makes of the ops, where it is installed: `pip install -e '.[aot-tpu]'`. No TPU is needed."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.sources import ROOT

# The TPU's compiler does not know the flags that tests set for a CPU's.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
pytestmark = [
    pytest.mark.optimized,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu"),
]


def test_the_op_is_as_small_as_the_inexact_one(tmp_path):
    command = [sys.executable, "-m", "experiments.bench.compiled", "--target", "tpu-v5e", "--shapes", "4", "7", "9"]
    command += ["--out", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith("Nothing is run on a device")
    measured = json.loads((tmp_path / "tpu-v5e" / "summary.json").read_text())["measured"]
    assert len(measured) == 6
    for m in measured:
        ours, theirs, stable = (m["layers"][name] for name in ("jaxbn", "linen", "linen, stable"))
        passes = {name: numbers["bytes"] / m["size"] for name, numbers in m["layers"].items()}
        assert passes["jaxbn"] <= passes["linen"] + 0.05, m["shape"]
        assert ours["temporary"] - theirs["temporary"] <= 0.02 * m["size"], m["shape"]
        assert ours["cycles"] <= 1.05 * theirs["cycles"], m["shape"]
        assert ours["cycles"] < 0.9 * stable["cycles"], m["shape"]


def test_ghost_norm_sends_nothing_but_one_message_for_the_running_statistics():
    """With a mask and without one. Groups that chips share take messages, which shows that they are counted."""
    command = [sys.executable, "-m", "tests.ghost_for_tpu"]
    environment = {**ENVIRONMENT, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("shared") > 0
    assert found == {"chips": 4, "normalized": [0, 0], "gradient": [0, 0], "trained": [1, 1]}
