"""The bench of training loops: everyone trains, and the same net."""

import json
import re

import jax
import numpy as np
import pytest

from experiments.bench import torch_nets
from experiments.bench.training import __main__ as training
from experiments.bench.training import loops
from experiments.tutorial.runs import RUNS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_it_measures_whoever_is_there_and_writes_its_tables(tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise ImportError("no such framework")

    monkeypatch.setitem(training.MAKERS, "Keras", missing)
    frameworks = ("jaxbn", "Flax", "PyTorch", "Keras", training.TEN)
    flags = ["--models", "mlp", "--steps", "2", "--rounds", "1", "--out", str(tmp_path)]
    assert training.main([*flags, "--frameworks", *frameworks]) == 0
    measured = json.loads((tmp_path / "summary.json").read_text())["measured"]
    names = set(measured[0]["milliseconds"])
    assert {"jaxbn", "Flax", training.TEN} <= names <= set(frameworks) - {"Keras"}
    assert min(measured[0]["milliseconds"].values()) > 0
    assert (tmp_path / "summary.md").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--frameworks jaxbn Torch", "`--frameworks` must be among jaxbn, Flax, .*, got Torch"),
        ("--frameworks Flax", "`--frameworks` must name ours, jaxbn, to compare with"),
        ("--models", "`--models` or `--resnets` must name a model"),
        ("--steps 0", "`--steps` must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert training.main(flags.split()) == 2
    assert re.fullmatch(rf"error: {words}\.\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", RUNS)
def test_the_nets_of_the_peers_have_the_parameters_of_ours(name):
    net = loops.PlainNet(name.startswith("mlp"), name.endswith("-bn"))
    shapes = jax.eval_shape(lambda key: net.init(key, np.zeros((1, 28, 28, 1), np.float32), False), jax.random.key(0))
    ours = jax.eval_shape(
        lambda key: RUNS[name].model.init(key, np.zeros((1, 28, 28), np.float32), False), jax.random.key(0)
    )
    count = [sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) for tree in (shapes, ours)]
    assert count[0] == count[1]
    pytest.importorskip("torch")
    parameters = sum(p.numel() for p in torch_nets.make_net(name).parameters())
    # PyTorch has no batch norm with a bias alone.
    assert parameters == count[1] + (22 if name == "conv-bn" else 0)
