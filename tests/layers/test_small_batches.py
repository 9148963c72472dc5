"""Options of both layers for small batches: ghost groups, limits of renormalization, micro-batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbn import batch_norm, init_batch_norm
from jaxbn import linen as ours_linen
from jaxbn import nnx as ours_nnx
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

X = noise(8, 5, 3, mean=2.0, std=3.0)
PENDING = ("pending_pivot", "pending_count", "pending_offset", "pending_m2", "pending_batches")
WIDEN = optax.linear_schedule(1.0, 3.0, transition_steps=2)


class Linen:
    """A layer with its variables, called like one of nnx."""

    def __init__(self, **options):
        self.layer = ours_linen.BatchNorm(**options)
        self.variables = self.layer.init(jax.random.key(0), X, use_running_average=False)

    def __call__(self, x, *, use_running_average=False):
        y, updates = self.layer.apply(self.variables, x, use_running_average, mutable=["batch_stats"])
        self.variables |= updates
        return y

    def statistics(self):
        return dict(self.variables["batch_stats"])


class Nnx:
    def __init__(self, **options):
        self.layer = ours_nnx.BatchNorm(3, rngs=nnx.Rngs(0), **options)

    def __call__(self, x, *, use_running_average=False):
        return self.layer(x, use_running_average)

    def statistics(self):
        return {k: v[...] for k, v in vars(self.layer).items() if isinstance(v, nnx.BatchStat)}


both = pytest.mark.parametrize("make", [Linen, Nnx])


@both
@pytest.mark.parametrize(
    ("options", "norm"),
    [
        ({"ghost_size": 3}, functools.partial(ghost_batch_norm, ghost_size=3)),
        ({"r_max": 1.5, "d_max": 0.5}, functools.partial(batch_renorm, r_max=1.5, d_max=0.5)),
    ],
    ids=["ghost", "renorm"],
)
def test_the_layer_is_the_function(make, options, norm):
    layer, (params, state) = make(**options, momentum=0.9), init_batch_norm(3)
    for step in range(2):
        y, state = norm(params, state, X + step, True, momentum=0.9)
        assert_same(layer(X + step), y)
    assert_same([layer.statistics()[name] for name in ("mean", "var")], state[:2])
    assert set(layer.statistics()) == {"mean", "var"}
    assert_same(layer(X, use_running_average=True), batch_norm(params, state, X, False)[0])


@both
def test_limits_may_be_schedules_of_the_updates(make):
    layer, (params, state) = make(r_max=WIDEN, d_max=lambda count: count / 4), init_batch_norm(3)
    for step, (r_max, d_max) in enumerate([(1.0, 0.0), (2.0, 0.25), (3.0, 0.5)]):
        y, state = batch_renorm(params, state, X + step, True, r_max=r_max, d_max=d_max)
        assert_close(layer(X + step), y, TOLERANCE["float32"])
    assert set(layer.statistics()) == {"mean", "var", "count"}
    assert layer.statistics()["count"] == 3


@both
@pytest.mark.parametrize("options", [{}, {"ghost_size": 2}, {"r_max": 2.0, "d_max": 1.0}], ids=str)
def test_micro_batches_are_one_update(make, options):
    layer = make(micro_batches=2, **options)
    assert set(layer.statistics()) == {"mean", "var", *PENDING}
    layer(X[:6])
    assert_same([layer.statistics()[name] for name in ("mean", "var")], init_batch_norm(3)[1][:2])
    layer(X[6:])
    expected = reference.running(np.zeros(3), np.ones(3), 0, [reference.moments(X)])
    assert_close([layer.statistics()[name] for name in ("mean", "var")], expected[:2], TOLERANCE["float32"])
    assert not np.any([np.any(layer.statistics()[name]) for name in PENDING])


@both
def test_both_layers_are_the_function_that_accumulates(make):
    layer = make(micro_batches=3, averaging="warmup")
    params, state = init_batch_norm(3)
    state = accumulate(state, 3)
    for step in range(4):
        y, state = batch_norm(params, state, X + step, True, averaging="warmup")
        assert_same(layer(X + step), y)
    expected = (*state[:3], *state.pending, state.seen)
    assert_same([layer.statistics()[name] for name in ("mean", "var", "count", *PENDING)], list(expected))


def test_weights_and_statistics_change_in_the_same_calls():
    """With `optax.MultiSteps` of as many micro-batches."""
    layer = ours_linen.BatchNorm(use_running_average=False, micro_batches=2)
    variables = layer.init(jax.random.key(0), X)
    params, stats = variables["params"], variables["batch_stats"]
    optimizer = optax.MultiSteps(optax.sgd(0.1), 2)
    state = optimizer.init(params)

    @jax.jit
    def step(params, stats, state, x):
        def loss(params):
            y, updates = layer.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            return jnp.mean((y - 1) ** 2), updates["batch_stats"]

        gradient, new = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), new, state

    for number in range(1, 7):
        old, before = params, stats
        with jax.numpy_dtype_promotion("standard"):  # optax needs it
            params, stats, state = step(params, stats, state, X + number)
        changed = [bool(jnp.any(a != b)) for a, b in ((old["bias"], params["bias"]), (before["mean"], stats["mean"]))]
        assert changed == [number % 2 == 0] * 2


def test_options_of_nnx_may_be_set_later():
    layer = Nnx()
    layer.layer.set_attributes(ours_nnx.BatchNorm, micro_batches=2, r_max=WIDEN, d_max=WIDEN)
    assert set(layer.statistics()) == {"mean", "var", "count", *PENDING}
    layer(X)
    layer(X)
    assert layer.statistics()["count"] == 1


@nnx.split_rngs(splits=4)
@nnx.vmap
def ensemble(rngs):
    return ours_nnx.BatchNorm(3, rngs=rngs, micro_batches=2)


def test_an_ensemble_accumulates_member_by_member():
    layers = ensemble(nnx.Rngs(0))
    nnx.vmap(lambda layer, x: layer(x))(layers, jnp.asarray(X[:4]))
    assert layers.pending_pivot[...].shape == (4, 3)
    np.testing.assert_array_equal(layers.pending_batches[...], np.ones(4))
    assert_close(layers.pending_pivot[...] + layers.pending_offset[...], X[:4].mean(1), TOLERANCE["float32"])


def test_a_model_that_vmap_does_not_know_accumulates_once():
    """`nnx.vmap(model)` of a model that is no argument: what all members have seen is one micro-batch."""
    layer = Nnx(micro_batches=2)
    nnx.vmap(lambda x: layer.layer(x))(jnp.asarray(X))
    assert layer.statistics()["pending_batches"] == 1
    mean = layer.statistics()["pending_pivot"] + layer.statistics()["pending_offset"]
    assert_close(mean, X.mean((0, 1)), TOLERANCE["float32"])


BAD = [
    ({"r_max": 2.0}, ValueError, "`r_max` and `d_max` must be given together, got 2.0 and None; inf is no limit"),
    ({"d_max": 2.0}, ValueError, "`r_max` and `d_max` must be given together, got None and 2.0"),
    (
        {"r_max": 2.0, "d_max": 1.0, "ghost_size": 4},
        ValueError,
        "`ghost_size` must be None beside `r_max` and `d_max`, got 4; choose one of them",
    ),
    ({"ghost_size": 0}, ValueError, "`ghost_size` must be at least 1, got 0"),
    ({"micro_batches": 0}, ValueError, "`micro_batches` must be at least 1, got 0"),
    ({"micro_batches": 2.0}, TypeError, "`micro_batches` must be an int, got 2.0"),
]


@both
@pytest.mark.parametrize(("options", "error", "words"), BAD, ids=str)
def test_words(make, options, error, words):
    with pytest.raises(error, match=words):
        make(**options)(X)


@pytest.mark.parametrize(
    "options",
    [{"r_max": WIDEN, "d_max": 1.0}, {"micro_batches": 2}, {"averaging": "cumulative"}],
    ids=lambda options: next(iter(options)),
)
def test_variables_of_a_plain_linen_layer_are_evaluated_with_every_option(options):
    plain = ours_linen.BatchNorm(use_running_average=True)
    variables = plain.init(jax.random.key(0), X)
    y = ours_linen.BatchNorm(use_running_average=True, **options).apply(variables, X)
    assert_same(y, plain.apply(variables, X))
