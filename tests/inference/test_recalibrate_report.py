"""What the report says, and what becomes of features that are constant, broken or without data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import NONE, TENS, X, errors, functional, one, state_of
from tests.tolerances import assert_close


def test_the_report_says_how_far():
    old = state_of([1.0, 5.0], [4.0, 1.0])
    x = np.random.default_rng(5).normal([3, 5], [2, 3], (50, 2)).astype("float32")
    _, report = recalibrate(one, old, [x])
    mean, std = x.mean(0, dtype="float64"), x.std(0, dtype="float64")
    moved = report["batch_norm"]
    assert_close(moved.mean, (mean - [1, 5]) / std, 1e-6)
    assert_close(moved.std, (std - [2, 1]) / std, 1e-6)
    for part, own, error in ((moved.mean, moved.mean_errors, 0), (moved.std, moved.std_errors, 1)):
        assert_close(own, part / errors(x)[error], 1e-5)


def test_the_report_is_a_table():
    net = functional()
    lines = str(recalibrate(net.apply, net.variables, TENS)[1]).splitlines()
    assert lines[0].split() == ["samples", "mean", "moved", "std", "moved"]
    assert [line.split()[:2] for line in lines[2:4]] == [["one", "40"], ["two", "40"]]
    assert len({len(line) for line in lines[1:4]}) == 1
    assert len(lines) == 5


def test_constants_and_broken_statistics():
    """A constant feature has no error; what NaN there was is gone, and nothing warns."""
    x = np.where(np.arange(5) == 1, np.float32(7), X)
    old = state_of([0.0, 7.0, np.nan, 0.0, 0.0], [1.0, 0.0, 1.0, -9.7, np.inf])
    new, report = recalibrate(one, old, np.split(x, 4), tolerance=1.0)
    assert_close(new[:2], (x[:10].mean(0, dtype="float64"), x[:10].var(0, dtype="float64")))
    assert (report["batch_norm"].mean[1], report["batch_norm"].std[1]) == (0, 0)
    assert new.var[1] == 0
    assert "nan" in str(report)


def test_a_feature_without_data_keeps_its_statistics():
    old, mask = state_of([1.0, 2, 3, 4, 5], [6.0, 7, 8, 9, 10]), np.arange(5)[None] != 2
    new, report = recalibrate(lambda s, x: batch_norm(NONE, s, x, False, mask=mask), old, TENS)
    assert (new.mean[2], new.var[2]) == (3, 8)
    assert report["batch_norm"].samples.tolist() == [40, 40, 0, 40, 40]
    assert report["batch_norm"].mean[2] == report["batch_norm"].std[2] == 0


def branching(states, batch):
    x = one(states["a"], batch["x"])
    return one(states["c"], jax.lax.cond(batch["take"], lambda: one(states["b"], x), lambda: x))


def masked(states, batch):
    x = one(states["a"], batch["x"])
    batch_norm(NONE, states["b"], x, False, mask=jnp.broadcast_to(batch["take"], [40, 1]))
    return one(states["c"], x)


@pytest.mark.parametrize("apply", [branching, masked])
def test_a_layer_without_data_keeps_its_statistics(apply):
    old = {name: state_of(np.full(5, 3.0), np.full(5, 4.0)) for name in "abc"}
    new, report = recalibrate(apply, old, [{"x": X, "take": jnp.array(False)}])
    assert_close(new["a"][:2], (X.mean(0, dtype="float64"), X.var(0, dtype="float64")))
    assert_close(new["b"], old["b"], 0)
    assert [report[name].samples.max() for name in "abc"] == [40, 0, 40]
    assert np.all(report["b"].mean == 0)
    assert np.all(new["c"].var != 4)
