"""The linen layer inside Flax's transformations, training states, checkpoints and summaries."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.training.train_state import TrainState

import jaxbn.linen
from tests import reference
from tests.layers.batches import EXACT, X, remembered
from tests.tolerances import assert_close, assert_same

KEY = jax.random.key(0)


def statistics(variables):
    return variables["batch_stats"]["mean"], variables["batch_stats"]["var"]


class Stack(nn.Module):
    """Two batch norms by `nn.scan`, on the same input."""

    @nn.compact
    def __call__(self, x):
        def body(layer, carry, _):
            return carry, layer(carry, use_running_average=False)

        scan = nn.scan(body, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=2)
        return scan(jaxbn.linen.BatchNorm(), x, None)[1]


class Shared(nn.Module):
    """One batch norm by `nn.scan`, whose statistics go from batch to batch."""

    @nn.compact
    def __call__(self, batches):
        def body(layer, carry, x):
            return carry, layer(x, use_running_average=False)

        scan = nn.scan(body, variable_broadcast="params", variable_carry="batch_stats", split_rngs={"params": False})
        return scan(jaxbn.linen.BatchNorm(), (), batches)[1]


@pytest.mark.slow
def test_linen_scan_over_layers():
    net = Stack()
    variables = net.init(KEY, X)
    y, updates = net.apply(variables, X, mutable=["batch_stats"])
    assert_close(y, np.stack([reference.batch_norm(X)] * 2), EXACT)
    stats = jax.tree.leaves(updates)
    assert_close(stats, [np.stack([part] * 2) for part in remembered(X)], EXACT)


def test_linen_scan_over_batches_carries_the_statistics():
    net = Shared()
    # A carried variable has to be there before the first step.
    variables = {name: {"BatchNorm_0": part} for name, part in jaxbn.linen.BatchNorm(False).init(KEY, X[0]).items()}
    y, updates = jax.jit(lambda v, x: net.apply(v, x, mutable=["batch_stats"]))(variables, X)
    assert_close(y, np.stack([reference.batch_norm(x) for x in X]), EXACT)
    assert_close(jax.tree.leaves(updates), remembered(*X), EXACT)


@pytest.mark.slow
def test_linen_vmap_over_examples_is_the_flat_batch():
    mapped = nn.vmap(
        jaxbn.linen.BatchNorm,
        in_axes=(0, None),
        variable_axes={"params": None, "batch_stats": None},
        split_rngs={"params": False},
        axis_name="batch",
    )
    layer = mapped(axis_name="batch")
    variables = layer.init(KEY, X, False)
    y, updates = layer.apply(variables, X, False, mutable=["batch_stats"])
    assert_close(y, reference.batch_norm(X), EXACT)
    assert_close(statistics(updates), remembered(X), EXACT)


@pytest.mark.slow
def test_linen_nested_vmap_with_two_axis_names():
    axes = {"params": None, "batch_stats": None}
    mapped = jaxbn.linen.BatchNorm
    for name in ("inner", "outer"):
        mapped = nn.vmap(mapped, in_axes=(0, None), variable_axes=axes, split_rngs={"params": False}, axis_name=name)
    layer = mapped(axis_name=("inner", "outer"))
    variables = layer.init(KEY, X, False)
    y, updates = layer.apply(variables, X, False, mutable=["batch_stats"])
    assert_close(y, reference.batch_norm(X), EXACT)
    assert_close(statistics(updates), remembered(X), EXACT)


@pytest.mark.slow
def test_linen_vmap_over_an_ensemble():
    mapped = nn.vmap(
        jaxbn.linen.BatchNorm,
        in_axes=(0, None),
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True},
    )
    layer = mapped()
    variables = layer.init(KEY, X, False)
    y, updates = layer.apply(variables, X, False, mutable=["batch_stats"])
    assert_close(y, np.stack([reference.batch_norm(x) for x in X]), EXACT)
    assert_close(statistics(updates), tuple(map(np.stack, zip(*map(remembered, X), strict=True))), EXACT)


def test_linen_remat_updates_once_and_changes_no_gradient():
    plain, again = jaxbn.linen.BatchNorm(False), nn.remat(jaxbn.linen.BatchNorm)(False)
    variables = plain.init(KEY, X)

    def loss(layer):
        def of(params):
            y, updates = layer.apply({**variables, "params": params}, X, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), updates

        return jax.jit(jax.value_and_grad(of, has_aux=True))(variables["params"])

    (expected, updates), gradient = loss(plain)
    (value, updates_again), gradient_again = loss(again)
    assert_close((value, gradient_again, updates_again), (expected, gradient, updates), EXACT)
    assert_close(statistics(updates_again), remembered(X), EXACT)


class Net(nn.Module):
    """One call of a norm after a dense layer, and the same on an input of rank 1."""

    @nn.compact
    def __call__(self, x, train):
        return jaxbn.linen.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))


def test_linen_input_of_rank_1_is_one_example():
    y, _ = Net().init_with_output(KEY, X[0, 0], train=True)
    assert_same(y, jnp.zeros(3))


def test_linen_bound_modules():
    net = Net()
    bound = net.bind(net.init(KEY, X, train=False), mutable=["batch_stats"])
    y = bound(X, train=True)
    assert jnp.max(jnp.abs(jnp.mean(y, (0, 1)))) < 1e-5
    assert jnp.all(bound.variables["batch_stats"]["BatchNorm_0"]["mean"] != 0)


@pytest.mark.slow
def test_linen_train_state_and_checkpoint(tmp_path):
    class State(TrainState):
        batch_stats: dict

    net = Net()
    variables = net.init(KEY, X, train=False)
    state = State.create(apply_fn=net.apply, tx=optax.sgd(0.1), **variables)

    @jax.jit
    def step(state):
        def loss(params):
            held = {"params": params, "batch_stats": state.batch_stats}
            y, updates = state.apply_fn(held, X, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), updates

        gradient, updates = jax.grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=gradient, batch_stats=updates["batch_stats"])

    state = step(step(state))
    assert np.all(state.batch_stats["BatchNorm_0"]["mean"] != 0)
    saved = {"params": state.params, "batch_stats": state.batch_stats}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", jax.eval_shape(lambda: saved))
    assert_same(restored, saved)
    assert_same(net.apply(restored, X, train=False), net.apply(saved, X, train=False))


def test_linen_summary_is_that_of_flax():
    def summary(cls):
        return cls(False).tabulate(KEY, X, console_kwargs={"width": 200, "force_terminal": False})

    assert summary(jaxbn.linen.BatchNorm) == summary(nn.BatchNorm)
