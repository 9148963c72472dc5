"""The nnx layer under `vmap`: of an ensemble, of examples, of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbn import batch_norm
from tests import reference
from tests.layers.batches import EXACT, X, remembered
from tests.layers.nnx_model import PARAMS, STATE, Model, call
from tests.tolerances import assert_close, assert_same

pytestmark = pytest.mark.slow


def test_nnx_ensemble():
    make = nnx.vmap(lambda _: Model(), axis_size=4, in_axes=None)
    models = make(None)
    y = nnx.vmap(call)(models, X)
    assert_close(y, np.stack([reference.batch_norm(x) for x in X]), EXACT)
    assert_close(models.statistics, tuple(map(np.stack, zip(*map(remembered, X), strict=True))), EXACT)


@pytest.mark.parametrize("axes", [None, nnx.StateAxes({nnx.BatchStat: None, ...: None})])
def test_nnx_vmap_with_an_axis_name_is_the_flat_batch(axes):
    model = Model(axis_name="batch")
    y = nnx.vmap(call, in_axes=(axes, 0), axis_name="batch")(model, X)
    assert_close(y, reference.batch_norm(X), EXACT)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_vmap_of_a_model_with_an_axis_name():
    model = Model(axis_name="batch")
    assert_close(nnx.vmap(model, axis_name="batch")(X), reference.batch_norm(X), EXACT)
    assert_close(model.statistics, remembered(X), EXACT)


@pytest.mark.parametrize("jit", [False, True])
def test_nnx_vmap_of_a_model_remembers_all_lanes_together(jit):
    """Every lane is normalised by itself, as in a loop; what one layer remembers is the whole."""
    model = Model()
    mapped = (lambda x: nnx.jit(lambda model, x: nnx.vmap(model)(x))(model, x)) if jit else nnx.vmap(model)
    for _ in range(2):
        assert_close(mapped(X), np.stack([reference.batch_norm(x) for x in X]), EXACT)
    assert_close(model.statistics, remembered(X, X), EXACT)


def test_nnx_nested_vmap_of_a_model():
    model = Model()
    x = X.reshape(2, 2, 5, 3)
    nnx.vmap(nnx.vmap(model, in_axes=1))(x)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_vmap_of_a_gradient_inside():
    model = Model()
    saliency = nnx.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(model(x)))))(jnp.asarray(X))
    expected = jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(batch_norm(PARAMS, STATE, x, True)[0]))))(jnp.asarray(X))
    assert_close(saliency, expected, EXACT)
    assert_close(model.statistics, remembered(X), EXACT)


@pytest.mark.parametrize("train", [False, True])
def test_nnx_vmap_of_a_model_with_a_traced_flag(train):
    layer = Model().norm

    @nnx.jit
    def step(layer, x, evaluate):
        return nnx.vmap(lambda x: layer(x, use_running_average=evaluate))(x)

    step(layer, X, not train)
    expected = remembered(X) if train else (np.zeros(3), np.ones(3))
    assert_close((layer.mean[...], layer.var[...]), expected, EXACT)


def test_nnx_vmap_of_a_model_inside_of_a_named_axis():
    """Members of the named axis share what they remember, and the batch of each is one of its own members."""
    model = Model(axis_name="outer")

    def inner(model, x):
        return nnx.vmap(model)(x)

    y = nnx.vmap(inner, in_axes=(None, 0), axis_name="outer")(model, X.reshape(2, 2, 5, 3))
    together = np.stack([reference.batch_norm(X[[i, i + 2]]) for i in range(2)], 1)
    assert_close(y, together, EXACT)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_vmap_of_a_model_without_members():
    model = Model()
    assert nnx.vmap(model)(jnp.zeros((0, 5, 3))).shape == (0, 5, 3)
    assert_same(model.statistics, (jnp.zeros(3), jnp.ones(3)))
