"""`averaging` set on an nnx layer that is there: as in linen, where a layer is made anew around old variables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxbn.linen
import jaxbn.nnx
from tests import reference
from tests.layers.batches import EXACT, X
from tests.layers.nnx_model import Model, call
from tests.tolerances import assert_close, assert_same

RULES = ["warmup", "cumulative"]
TRAINED = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
START = {"batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}


def make(**kwargs):
    return jaxbn.nnx.BatchNorm(3, rngs=nnx.Rngs(0), **kwargs)


def later(averaging, **kwargs):
    layer = make(**kwargs)
    layer.averaging = averaging
    return layer


def pure(layer):
    return nnx.to_pure_dict(nnx.state(layer))


def in_linen(averaging, batches, stats):
    """The outputs of linen's layer, and what it remembers."""
    layer = jaxbn.linen.BatchNorm(use_running_average=False, averaging=averaging)
    outputs = []
    for x in batches:
        y, stats = layer.apply({**TRAINED, **stats}, x, mutable="batch_stats")
        outputs.append(y)
    return outputs, stats


@pytest.mark.parametrize("averaging", ["ema", *RULES])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_it_is_linen_to_the_last_bit(averaging, steps_before):
    layer = make()
    _, stats = in_linen("ema", X[:steps_before], START)
    for x in X[:steps_before]:
        layer(x)
    layer.averaging = averaging
    outputs, stats = in_linen(averaging, X, stats)
    assert_same([layer(x) for x in X], outputs)
    assert_same(nnx.to_pure_dict(nnx.state(layer, nnx.BatchStat)), stats["batch_stats"])


@pytest.mark.parametrize("averaging", RULES)
def test_it_is_the_layer_that_was_made_so(averaging):
    assert jax.tree.structure(nnx.state(later(averaging))) == jax.tree.structure(nnx.state(make(averaging=averaging)))
    assert_same(pure(later(averaging)), pure(make(averaging=averaging)))
    assert type(later(averaging).count) is nnx.BatchStat


@pytest.mark.parametrize("averaging", RULES)
def test_a_state_that_scan_carries(averaging):
    graph, state = nnx.split(later(averaging))

    def body(state, x):
        layer = nnx.merge(graph, state)
        return (layer(x), nnx.state(layer))[::-1]

    expected = make(averaging=averaging)
    outputs = [expected(x) for x in X]
    state, y = jax.lax.scan(body, state, jnp.asarray(X))
    assert_close(y, np.stack(outputs), EXACT)
    assert_close(nnx.to_pure_dict(state), pure(expected), EXACT)
    assert nnx.to_pure_dict(state)["count"] == len(X)


@pytest.mark.parametrize("averaging", RULES)
def test_a_model_that_nnx_scan_carries(averaging):
    model, expected = Model(), Model(averaging=averaging)
    model.norm.averaging = averaging
    for x in X:
        expected(x)

    def body(model, x):
        return model, model(x)

    model, _ = nnx.scan(body, in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))(model, X)
    assert_close(pure(model), pure(expected), EXACT)


@pytest.mark.slow
def test_the_whole_of_a_model_at_once_and_in_jit():
    model = nnx.List([Model(), Model()])
    for part in model:
        part.norm.momentum = 0.5
    nnx.Module.set_attributes(model[0], jaxbn.nnx.BatchNorm, averaging="cumulative")
    model[1].set_attributes(averaging="cumulative")
    for part in model:
        for x in X:
            nnx.jit(call)(part, x)
        m = [reference.moments(x) for x in X]
        assert_close(part.norm.mean[...], np.mean([moments.mean for moments in m], 0), EXACT)
        assert part.norm.count[...] == len(X)


def test_set_inside_of_jit():
    model = Model()

    @nnx.jit
    def step(model, x):
        model.norm.averaging = "cumulative"
        return model(x)

    for x in X:
        step(model, x)
    expected = Model(averaging="cumulative")
    for x in X:
        expected(x)
    assert model.norm.averaging == "cumulative"
    assert_close(pure(model), pure(expected), EXACT)


def test_back_to_ema_the_count_stays_as_it_is():
    layer, expected = later("cumulative"), make()
    layer(X[0])
    nnx.replace_by_pure_dict(state := nnx.state(expected), {n: p for n, p in pure(layer).items() if n != "count"})
    nnx.update(expected, state)
    layer.averaging = "ema"
    assert_same((layer(X[1]), layer(X[2])), (expected(X[1]), expected(X[2])))
    assert layer.count[...] == 1
    layer.averaging = "warmup"
    layer(X[3])
    assert layer.count[...] == 2


@pytest.mark.slow
def test_each_member_of_an_ensemble_counts():
    @nnx.vmap(in_axes=0, out_axes=0)
    def members(rngs):
        return jaxbn.nnx.BatchNorm(3, rngs=rngs)

    layer = members(nnx.Rngs(0).split(4))
    layer.averaging = "cumulative"
    assert layer.count[...].shape == (4,)
    nnx.vmap(call, in_axes=(0, 0))(layer, X)
    for member, x in enumerate(X):
        expected = make(averaging="cumulative")
        expected(x)
        assert_close(jax.tree.map(lambda part: part[member], pure(layer)), pure(expected), EXACT)  # noqa: B023


def test_evaluation_neither_reads_nor_changes_the_count():
    layer, expected = later("warmup", use_running_average=True), nn.BatchNorm(use_running_average=True)
    assert_close(layer(X), expected.apply({**TRAINED, **START}, X), EXACT)
    assert layer.count[...] == 0


def test_another_word_is_refused_at_once():
    layer = make()
    with pytest.raises(ValueError, match=r"`averaging` must be one of 'ema', 'warmup', 'cumulative', got 'sma'\."):
        layer.averaging = "sma"
    assert layer.averaging == "ema"
    assert not hasattr(layer, "count")
