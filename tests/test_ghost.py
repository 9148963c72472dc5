"""Ghost batch norm normalises every group by itself, and learns from all of them as from one batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

from jaxbn import BatchNormParams, BatchNormState, batch_norm, init_batch_norm
from jaxbn.variants import ghost_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

SCALE, BIAS = np.float32([0.5, 1.5, -2.0]), np.float32([1.0, 0.0, -1.0])
PARAMS = BatchNormParams(jnp.asarray(SCALE), jnp.asarray(BIAS))
STATE = BatchNormState(jnp.asarray([1.0, -1.0, 0.5]), jnp.asarray([1.0, 4.0, 0.25]), jnp.asarray(3, jnp.int32))


def trained(x, size, params=PARAMS, state=STATE, **kwargs):
    return jax.jit(functools.partial(ghost_batch_norm, params, state, train=True, ghost_size=size, **kwargs))(x)


def assert_ghost(x, size, axis=-1, mask=None, **rule):
    """With scale 1 and bias 0 where the features are not the three."""
    features = tuple(x.shape[a] for a in (axis if isinstance(axis, tuple) else (axis,)))
    three = features == (3,)
    params, state = (PARAMS, STATE) if three else init_batch_norm(features)
    y, new = trained(x, size, params, state, axis=axis, mask=mask, **rule)
    assert y.dtype == x.dtype
    expected = reference.ghost_batch_norm(x, size, *((SCALE, BIAS) if three else ()), axis=axis, mask=mask)
    assert_close(y, expected, TOLERANCE[str(y.dtype)])
    assert_close(new, reference.running(*state, [reference.moments(x, axis, mask)], **rule), TOLERANCE["float32"])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7, 100])
def test_every_group_is_a_batch(size):
    """Seven examples: a last group of one or three, none, or one that holds them all."""
    assert_ghost(noise(7, 4, 3, mean=2, std=3), size)


@pytest.mark.parametrize("size", [7, 100])
def test_one_group_is_batch_norm(size):
    x = noise(7, 4, 3, mean=2, std=3)
    expected = jax.jit(functools.partial(batch_norm, PARAMS, STATE, train=True))(x)
    assert_close(trained(x, size), expected, TOLERANCE["float32"])


def test_one_value_alone_gives_bias_and_is_learnt_from():
    x = noise(5, 3, mean=3)
    y, state = trained(x, 1)
    assert_same(y, np.broadcast_to(BIAS, x.shape))
    assert_close(state, reference.running(*STATE, [reference.moments(x)]), TOLERANCE["float32"])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 3, 4), 1), ((5, 2, 4), (2, 1)), ((5, 2, 4), (1, 2)), ((5, 2, 3, 4), (-1, 1)), ((5, 2, 2, 3), -1)],
)
def test_features_may_lie_on_any_axes_but_the_first(shape, axis, masked):
    mask = np.random.default_rng(1).random(shape) < 0.7 if masked else None
    assert_ghost(noise(*shape, mean=2, std=3), 2, axis, mask)


MASKS = {
    "bool": np.array([1, 0, 1, 1, 0, 1, 1], bool).reshape(7, 1, 1),
    "weights": np.float32([1, 0, 2, 0.5, 0, 1, 3]).reshape(7, 1, 1),
    "one row": np.array([1, 0, 1, 1], bool).reshape(1, 4, 1),
    "one feature": np.array([1, 0, 1], bool).reshape(1, 1, 3),
    "a group of nothing": (np.arange(7) // 2 != 1).reshape(7, 1, 1),
    "the last one of nothing": (np.arange(7) < 6).reshape(7, 1, 1),
}


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("kind", MASKS)
def test_masked_values_are_not_there(kind, poison):
    x = np.where(MASKS[kind] > 0, noise(7, 4, 3, mean=2, std=3), np.float32(poison))
    assert_ghost(x, 2, mask=MASKS[kind])


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 3), (4, 0, 3)])
def test_an_empty_batch_leaves_the_state_alone(shape):
    y, state = trained(np.zeros(shape, "float32"), 2)
    assert y.shape == shape
    assert_same(state, STATE)


def test_a_batch_without_features_is_one_of_no_values():
    y, _ = trained(np.zeros((4, 0), "float32"), 2, *init_batch_norm(0))
    assert y.shape == (4, 0)


def test_a_batch_that_is_all_masked_leaves_the_state_alone():
    y, state = trained(np.full((5, 3), np.nan, "float32"), 2, mask=np.zeros((5, 1), bool))
    assert_same(y, np.zeros((5, 3), "float32"))
    assert_same(state, STATE)


@pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_the_running_statistics_are_those_of_the_whole_batch(averaging, ddof):
    assert_ghost(noise(7, 3, mean=2, std=3), 3, averaging=averaging, ddof=ddof)


def test_constant_groups_give_exactly_bias():
    x = np.repeat(np.float32([1e5 + 0.1, 3e30, -7]), 4)[:, None] * np.ones(3, "float32")
    assert_same(trained(x, 4)[0], np.broadcast_to(BIAS, x.shape))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_loses_the_rounding_of_the_output_alone(dtype):
    assert_ghost(noise(14, 4, 3, mean=300, std=8, dtype=dtype), 4)


def test_complex_data():
    x, (params, state) = noise(7, 4, 3, mean=3 - 2j, dtype="complex64"), init_batch_norm(3, dtype="complex64")
    y, new = trained(x, 3, params, state)
    assert_close(y, reference.ghost_batch_norm(x, 3))
    assert_close(new, reference.running(*state, [reference.moments(x)]))
    assert [part.dtype for part in new] == [part.dtype for part in state]


@pytest.mark.parametrize("masked", [False, True])
def test_a_traced_flag_is_a_static_one(masked):
    x, mask = noise(7, 4, 3, mean=2), MASKS["bool"] if masked else None

    def slope(x, train):
        def loss(x):
            y, state = ghost_batch_norm(PARAMS, STATE, x, train, ghost_size=3, mask=mask)
            return jnp.sum(y**3), state

        return jax.value_and_grad(loss, has_aux=True)(x)

    traced, static = jax.jit(slope), jax.jit(slope, static_argnums=1)
    for train in (True, False):
        assert_close(traced(x, train), static(x, train), TOLERANCE["float32"])


def test_evaluation_is_that_of_batch_norm():
    x = noise(7, 4, 3)
    got = ghost_batch_norm(PARAMS, STATE, x, False, ghost_size=2)
    assert_same(got, batch_norm(PARAMS, STATE, x, False))


@pytest.mark.parametrize("mask", [None, "weights", "a group of nothing"])
@pytest.mark.parametrize("size", [2, 3])
def test_gradients(size, mask):
    mask = MASKS.get(mask)
    x, dy = noise(7, 4, 3, mean=2, std=3), noise(7, 4, 3, seed=1)
    if mask is not None:
        x = np.where(mask > 0, x, np.float32(np.nan))

    def loss(x, params):
        y, state = ghost_batch_norm(params, STATE, x, True, ghost_size=size, mask=mask)
        return jnp.sum(dy * y) + sum(jnp.sum(part) for part in state[:2])

    dx, dparams = jax.jit(jax.grad(loss, (0, 1)))(x, PARAMS)
    assert_close((dx, *dparams), reference.ghost_gradient(x, dy, SCALE, size, mask=mask), GRADIENT["float32"])


@pytest.mark.slow
def test_second_derivatives():
    with jax.enable_x64(True):
        norm = functools.partial(ghost_batch_norm, *init_batch_norm(3, dtype="float64"), train=True, ghost_size=3)
        output = jax.jit(lambda x: jnp.sin(norm(x, mask=MASKS["weights"][:, 0])[0]))
        check_grads(output, [noise(7, 3, mean=2, dtype="float64")], order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("masked", [False, True])
def test_members_of_a_mapped_axis_have_groups_of_their_own_and_learn_together(masked):
    x = noise(2, 5, 3, std=2) + np.float32([[[0]], [[9]]])
    mask = np.arange(5) < np.array([[5], [2]]) if masked else np.ones((2, 5), bool)
    one = functools.partial(ghost_batch_norm, PARAMS, STATE, train=True, ghost_size=2, axis_name="i")
    call = jax.vmap(lambda x, mask: one(x, mask=mask[:, None]), axis_name="i", out_axes=(0, None))
    y, state = jax.jit(call)(x, mask)
    for member in range(2):
        expected = reference.ghost_batch_norm(x[member], 2, SCALE, BIAS, mask=mask[member][:, None])
        assert_close(y[member], expected, TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x[mask])]), TOLERANCE["float32"])


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_unknown_size_can_be_exported(size):
    (batch,) = export.symbolic_shape("b")
    step = jax.jit(functools.partial(ghost_batch_norm, PARAMS, STATE, train=True, ghost_size=size))
    program = export.export(step)(jax.ShapeDtypeStruct((batch, 4, 3), "float32"))
    for examples in (1, 3, 7):
        x = noise(examples, 4, 3, mean=3)
        y, state = program.call(x)
        assert_close(y, reference.ghost_batch_norm(x, size, SCALE, BIAS), 2e-5)
        assert_close(state, reference.running(*STATE, [reference.moments(x)]), 2e-5)
