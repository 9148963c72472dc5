"""The nnx layer inside Flax's transformations, training states, checkpoints and summaries."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.errors import TraceContextError

import jaxbn.nnx
from jaxbn import batch_norm
from tests import reference
from tests.layers.batches import EXACT, X, remembered
from tests.layers.nnx_model import PARAMS, STATE, Model, call
from tests.tolerances import assert_close, assert_same

pytestmark = pytest.mark.slow

NOT_REMEMBERED = r"pass the model to it, e\.g\. nnx\.jit\(lambda model, x: model\(x\)\)"


def test_nnx_jit():
    model = Model()
    step = nnx.jit(call)
    for x in X:
        assert_close(step(model, x), reference.batch_norm(x), EXACT)
    assert_close(model.statistics, remembered(*X), EXACT)


def test_nnx_gradient():
    model = Model()
    gradient = nnx.jit(nnx.grad(lambda model, x: jnp.sum(jnp.sin(model(x)))))(model, X)
    expected = jax.grad(lambda params: jnp.sum(jnp.sin(batch_norm(params, STATE, X, True)[0])))(PARAMS)
    assert_close((gradient.norm.scale[...], gradient.norm.bias[...]), tuple(expected), EXACT)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_remat_updates_once():
    model = Model()
    nnx.grad(nnx.remat(lambda model, x: jnp.sum(jnp.sin(model(x)))))(model, X)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_scan_over_batches():
    model = Model()

    def body(model, x):
        return model, model(x)

    model, y = nnx.scan(body, in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))(model, X)
    assert_close(y, np.stack([reference.batch_norm(x) for x in X]), EXACT)
    assert_close(model.statistics, remembered(*X), EXACT)


def test_nnx_eval_shape():
    model = Model()
    assert nnx.eval_shape(call, model, X).shape == X.shape
    assert nnx.eval_shape(model, X).shape == X.shape
    assert nnx.eval_shape(jax.vmap(model), X).shape == X.shape
    assert_same(model.statistics, (jnp.zeros(3), jnp.ones(3)))


@pytest.mark.parametrize(
    "transform",
    [
        nnx.jit,
        jax.jit,
        lambda model: jax.vmap(jax.jit(model)),
        lambda model: jax.grad(lambda x: jnp.sum(model(x))),
        lambda model: lambda x: jax.vmap(lambda _: model(x))(jnp.arange(2)),
    ],
)
def test_nnx_statistics_that_cannot_be_kept_are_not_lost_in_silence(transform):
    """A model in a closure: its statistics would be those of before training for ever."""
    model = Model()
    with pytest.raises(TraceContextError, match=NOT_REMEMBERED):
        transform(model)(jnp.asarray(X))
    assert_same(model.statistics, (jnp.zeros(3), jnp.ones(3)))


def test_nnx_a_shape_that_was_asked_for_hides_no_later_error():
    """`jax.jit` takes from the cache what `jax.eval_shape` has traced."""
    model = Model()
    with pytest.raises(TraceContextError, match=NOT_REMEMBERED):
        jax.eval_shape(model, X)
    nnx.eval_shape(model, X)
    for jit in (jax.jit, nnx.jit):
        with pytest.raises(TraceContextError, match=NOT_REMEMBERED):
            jit(model)(X)


def test_nnx_split_and_merge():
    model = Model()
    graph, params, rest = nnx.split(model, nnx.Param, nnx.BatchStat)
    assert set(nnx.to_pure_dict(rest)["norm"]) == {"mean", "var"}

    @jax.jit
    def step(params, rest, x):
        model = nnx.merge(graph, params, rest)
        y = model(x)
        return y, nnx.state(model, nnx.BatchStat)

    y, rest = step(params, rest, X)
    assert_close(y, reference.batch_norm(X), EXACT)
    nnx.update(model, rest)
    assert_close(model.statistics, remembered(X), EXACT)


def test_nnx_train_state_and_checkpoint(tmp_path):
    model, fresh = Model(), Model()
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    for x in X:
        optimizer.update(model, nnx.grad(lambda model: jnp.sum(jnp.sin(model(x))))(model))  # noqa: B023
    saved = nnx.to_pure_dict(nnx.state(model))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", jax.eval_shape(lambda: saved))
    nnx.replace_by_pure_dict(state := nnx.state(fresh), restored)
    nnx.update(fresh, state)
    assert_same(nnx.to_pure_dict(nnx.state(fresh)), saved)
    assert_close(model.statistics, remembered(*X), EXACT)


def test_nnx_summary_is_that_of_flax():
    def summary(cls):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nnx.tabulate(cls(3, rngs=nnx.Rngs(0)), X, console_kwargs={"width": 200, "force_terminal": False})

    with jax.numpy_dtype_promotion("standard"):
        assert summary(jaxbn.nnx.BatchNorm) == summary(nnx.BatchNorm)
