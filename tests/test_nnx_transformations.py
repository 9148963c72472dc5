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
from jaxbn import batch_norm, init_batch_norm
from tests import reference
from tests.tolerances import TOLERANCE, assert_close, assert_same

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32") + 3
EXACT = TOLERANCE["float32"]
PARAMS, STATE = init_batch_norm(3)


def remembered(*batches):
    """Running mean and variance after training on batches, in double precision."""
    return reference.running(np.zeros(3), np.ones(3), 0, [reference.moments(x) for x in batches])[:2]


class Model(nnx.Module):
    """One norm, as a part of a model."""

    def __init__(self, **kwargs):
        self.norm = jaxbn.nnx.BatchNorm(3, rngs=nnx.Rngs(0), **kwargs)

    def __call__(self, x):
        return self.norm(x)

    @property
    def statistics(self):
        return self.norm.mean[...], self.norm.var[...]


def call(model, x):
    return model(x)


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
    with pytest.raises(
        TraceContextError, match=r"pass the model to it, e\.g\. nnx\.jit\(lambda model, x: model\(x\)\)"
    ):
        transform(model)(jnp.asarray(X))
    assert_same(model.statistics, (jnp.zeros(3), jnp.ones(3)))


def test_nnx_a_shape_that_was_asked_for_hides_no_later_error():
    """`jax.jit` takes from the cache what `jax.eval_shape` has traced."""
    model = Model()
    with pytest.raises(TraceContextError):
        jax.eval_shape(model, X)
    nnx.eval_shape(model, X)
    for jit in (jax.jit, nnx.jit):
        with pytest.raises(TraceContextError):
            jit(model)(X)


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
    assert_same(fresh.statistics, model.statistics)
    assert_close(model.statistics, remembered(*X), EXACT)


def test_nnx_summary_is_that_of_flax():
    def rows(cls):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = nnx.tabulate(cls(3, rngs=nnx.Rngs(0)), X, console_kwargs={"width": 200, "force_terminal": False})
        return [line.split("│")[3:] for line in table.splitlines() if "float32" in line or " B)" in line]

    with jax.numpy_dtype_promotion("standard"):
        assert rows(jaxbn.nnx.BatchNorm) == rows(nnx.BatchNorm)
