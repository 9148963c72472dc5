"""A layer has the same name in the reports of all three tools."""

from types import SimpleNamespace

import jax
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn.inference import DiagnosisReport, Report, diagnose, fold, recalibrate
from jaxbn.inference._layers import layer_names, variable_names
from tests.inference.nets_fold import numbers

P, S = init_batch_norm(3)
D = {"kernel": 1.0, "bias": 2.0}

# Variables, and the layer of each running mean.
TREES = {
    "pair": ((P, S), ["batch_norm"]),
    "state": (S, ["batch_norm"]),
    "named-pair": ({"n": (P, S), "dense": D}, ["n"]),
    "pairs-in-a-list": ([(P, S), (P, S)], ["0", "1"]),
    "list-of-a-name": ({"norms": [{"params": P, "state": S}, {"params": P, "state": S}]}, ["norms/0", "norms/1"]),
    "lists-in-a-pair": (([P, P], [S, S]), ["0", "1"]),
    "trees-side-by-side": ({"params": {"a": P, "b": {"c": P}}, "state": {"a": S, "b": {"c": S}}}, ["a", "b/c"]),
    "states-alone": ({"a": S, "b": {"c": S}}, ["a", "b/c"]),
    "one-for-two-domains": ({"params": P, "day": S, "night": S}, ["day", "night"]),
    "several-beside-each-other": ({"p1": P, "s1": S, "p2": P, "s2": S}, ["s1", "s2"]),
    "flax": ({"params": {"A": {"B": {"scale": 1}}}, "batch_stats": {"A": {"B": {"mean": 1}}}}, ["A/B"]),
    "flax-in-a-tree": ({"net": {"params": {"B": {"scale": 1}}, "batch_stats": {"B": {"mean": 1}}}}, ["net/B"]),
    "flax-layer": ({"params": {"scale": 1}, "batch_stats": {"mean": 1}}, ["batch_norm"]),
    "dict": ({"norm": {"scale": 1, "mean": 2, "var": 3}, "dense": D}, ["norm"]),
}


@pytest.mark.parametrize("name", TREES)
def test_layers_of_trees(name):
    tree, expected = TREES[name]
    paths, layers = variable_names(tree), layer_names(tree)
    assert [layer for path, layer in zip(paths, layers, strict=True) if path.endswith("mean")] == expected
    of_scales = {layer for path, layer in zip(paths, layers, strict=True) if path.endswith("scale")}
    assert of_scales <= set(expected) or name in ("one-for-two-domains", "several-beside-each-other")


def functional(v, x):
    return batch_norm(*v["norm"], x @ v["kernel"], train=False)[0]


def linen():
    nn = pytest.importorskip("flax.linen")
    net = nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=True)])
    return net.apply, net.init(jax.random.key(0), numbers(8, 4)), "layers_1"


def nnx():
    nnx = pytest.importorskip("flax.nnx")
    net = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    return (lambda net, x: net(x)), net, "layers/1"


NETS = {
    "functional": lambda: (functional, {"kernel": numbers(4, 3), "norm": (P, S)}, "norm"),
    "only-layer": lambda: ((lambda v, x: batch_norm(*v, x, train=False)[0]), (P, S), "batch_norm"),
    "linen": linen,
    "nnx": nnx,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("linen", "nnx"))) for name in NETS]
)
def test_the_same_name_in_all_reports(name):
    f, variables, layer = NETS[name]()
    x = numbers(8, 3 if name == "only-layer" else 4)
    with jax.numpy_rank_promotion("allow"):
        folding = fold(f, variables, x)[2]
        assert [norm.name for norm in folding.norms] == [layer]
        assert folding[layer] is folding.norms[0]
        diagnosis, moved = diagnose(f, variables, [x]), recalibrate(f, variables, [x])[1]
    assert [norm.name for norm in diagnosis.norms] == [layer]
    assert moved.names == (layer,)
    for report in (folding, diagnosis, moved):
        with pytest.raises(KeyError, match=f"`name` must be that of a batch norm, here '{layer}', got 'other'; print"):
            report["other"]


@pytest.mark.slow
def test_a_model_of_nnx_is_folded_in_evaluation():
    f, net, layer = nnx()
    with jax.numpy_rank_promotion("allow"):
        report = fold(f, net, numbers(8, 4))[2]
    assert report[layer].into == "dot layers/0/kernel 4x3"
    assert not net.layers[1].use_running_average


def test_a_report_of_no_norm():
    report = fold(lambda _, x: x, (), numbers(8, 4))[2]
    with pytest.raises(KeyError, match=r"of a batch norm, here none, got 'norm'"):
        report["norm"]


def test_of_many_names_some_are_said():
    for report in (
        Report(tuple("abcdefghij"), (None,) * 10),
        DiagnosisReport([SimpleNamespace(name=n) for n in "abcdefghij"]),
    ):
        with pytest.raises(
            KeyError, match=r"`name` must be that of a batch norm, here 'a', .*, 'i', \.\.\., got 'typo'; print"
        ):
            report["typo"]
