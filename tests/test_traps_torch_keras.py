"""The traps of Keras's and PyTorch's batch norms, one test for each: none of them is here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_moments, batch_norm, init_batch_norm, merge_moments, presets
from tests import reference
from tests.bad_calls import BAD_CALLS
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)


def noise(*shape, mean=0.0, std=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * std + mean).astype("float32")


def trained(x, features=3, dtype="float32", **kwargs):
    return jax.jit(functools.partial(batch_norm, *init_batch_norm(features, dtype=dtype), train=True, **kwargs))(x)


@pytest.mark.parametrize(("axis", "shape"), [(0, (4, 1, 5)), (1, (4, 1, 5)), (1, (1, 3, 5)), (2, (4, 3, 1))])
def test_keras_masks_have_one_rank_and_channels_come_last(axis, shape):
    x, mask = noise(4, 3, 5), np.random.default_rng(1).random(shape) < 0.6
    y, state = trained(x, x.shape[axis], axis=axis, mask=mask)
    assert_close(y, reference.batch_norm(x, axis=axis, mask=mask), TOLERANCE["float32"])
    start = np.zeros(x.shape[axis])
    expected = reference.running(start, start + 1, 0, [reference.moments(x, axis, mask)])
    assert_close(state, expected, TOLERANCE["float32"])


def test_keras_one_channel_with_a_mask_fails():
    x, mask = noise(4, 1), np.array([[True], [True], [True], [False]])
    assert_close(trained(x, 1, mask=mask)[0][:3], reference.batch_norm(x[:3]), TOLERANCE["float32"])


def test_keras_an_empty_mask_decays_the_state():
    assert_same(trained(noise(4, 3), mask=np.zeros((4, 1), bool))[1], STATE)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_keras_an_empty_batch_gives_nan(shape):
    y, state = trained(np.zeros(shape, "float32"))
    assert y.shape == shape
    assert_same(state, STATE)


def test_keras_complex_data_comes_out_real():
    x = (noise(4, 3) + 1j * noise(4, 3, seed=1)).astype("complex64")
    y = trained(x, dtype="complex64")[0]
    assert y.dtype == jnp.complex64
    assert_close(y, reference.batch_norm(x))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_keras_a_large_mean_costs_digits(mean, train):
    x, state = noise(64, 3, mean=mean), STATE._replace(mean=jnp.full(3, mean))
    y = jax.jit(lambda x: batch_norm(PARAMS, state, x, train)[0])(x)
    assert_close(y, reference.batch_norm(x) if train else reference.normalize(x, mean, 1), TOLERANCE["float32"])


def test_keras_a_mask_stops_the_synchronisation():
    x, mask = noise(2, 5, 3) + np.array([0, 9], "float32")[:, None, None], np.arange(5) < np.array([[2], [4]])
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, axis_name="i")
    y, state = jax.jit(jax.vmap(lambda x, m: one(x, mask=m), axis_name="i"))(x, mask[..., None])
    assert_close(y[mask], reference.batch_norm(x[mask]), TOLERANCE["float32"])
    for member in range(2):
        expected = reference.running(*STATE, [reference.moments(x[mask])])
        assert_close([part[member] for part in state], expected, TOLERANCE["float32"])


def test_keras_an_error_shows_the_name_of_a_variable_for_its_value():
    for name, call, error, _ in BAD_CALLS:
        with pytest.raises(error) as caught:
            call()
        assert not {"{", "}"} & set(str(caught.value)), name


def test_keras_frozen_statistics_change_the_normalisation():
    x = noise(8, 3, mean=5.0)
    y, state = trained(x, momentum=1.0)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    assert_same((state.mean, state.var), (STATE.mean, STATE.var))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
@pytest.mark.parametrize("ddof", [0, 1])
def test_torch_a_batch_of_one_is_refused_or_divides_by_0(shape, ddof):
    y, state = trained(noise(*shape), axis=1, ddof=ddof)
    assert not np.any(y)
    expected = reference.running(*STATE, [reference.moments(noise(*shape), 1)], ddof=ddof)
    assert_close(state, expected, TOLERANCE["float32"])


def test_torch_an_empty_batch_counts_as_one():
    assert trained(np.zeros((0, 3), "float32"))[1].count == 0


def test_torch_averages_of_batches_lose_the_variance_between_them():
    x = noise(6, 3) + np.array([0, 0, 0, 0, 20, 20], "float32")[:, None]
    merged = merge_moments(batch_moments(x[:4]), batch_moments(x[4:]))
    assert_close(merged, reference.moments(x), TOLERANCE["float32"])
    assert_close(merged.m2 / merged.count, x.astype("float64").var(0), TOLERANCE["float32"])


def test_torch_mutation_breaks_vmap_and_gradients():
    """Members also keep statistics of their own, which the first one's do not overwrite."""
    x, dy = noise(2, 2, 4, 3) + np.arange(2, dtype="float32").reshape(2, 1, 1, 1), noise(4, 3, seed=1)

    def loss(x, state):
        y, state = batch_norm(PARAMS, state, x, True)
        return jnp.sum(dy * y), state

    step = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))
    states = jax.tree.map(lambda part: jnp.stack([part, part]), STATE)
    for i in range(2):
        slopes, states = step(x[:, i], states)
    for member in range(2):
        assert_close(slopes[member], reference.gradient(x[member, 1], dy, 1.0)[0], 1e-5)
        expected = reference.running(*STATE, [reference.moments(batch) for batch in x[member]])
        assert_close([part[member] for part in states], expected, TOLERANCE["float32"])


def test_torch_a_checkpoint_updates_twice():
    def loss(x):
        y, state = jax.checkpoint(lambda x: batch_norm(PARAMS, STATE, x, True))(x)
        return jnp.sum(y**2), state

    (_, state), _ = jax.jit(jax.value_and_grad(loss, has_aux=True))(noise(4, 3))
    assert_close(state, reference.running(*STATE, [reference.moments(noise(4, 3))]), TOLERANCE["float32"])


def test_torch_nested_forward_derivatives_are_wrong():
    with jax.enable_x64(True):
        x, v = (jnp.asarray(noise(6, 3, seed=seed), "float64") for seed in (0, 1))

        def along(t):
            return jnp.sum(jnp.sin(batch_norm(PARAMS, STATE, x + t * v, True)[0]))

        @jax.jit
        def curvatures(t, h):
            forward = jax.jvp(lambda t: jax.jvp(along, (t,), (1.0,))[1], (t,), (1.0,))[1]
            return forward, jax.grad(jax.grad(along))(t), (along(t + h) - 2 * along(t) + along(t - h)) / h**2

        forward, backward, differences = curvatures(0.0, 1e-4)
        np.testing.assert_allclose(forward, backward, rtol=1e-10)
        np.testing.assert_allclose(forward, differences, rtol=1e-5)


def test_torch_momentum_is_the_weight_of_the_new_value():
    x, old = noise(5, 3, mean=7.0), STATE._replace(mean=jnp.full(3, 2.0), var=jnp.full(3, 3.0))
    state = batch_norm(PARAMS, old, x, True, **presets.TORCH)[1]
    double = x.astype("float64")
    assert_close(state.mean, 0.9 * 2 + 0.1 * double.mean(0), TOLERANCE["float32"])
    assert_close(state.var, 0.9 * 3 + 0.1 * double.var(0, ddof=1), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_torch_a_model_in_half_precision_has_its_statistics_in_half_too(dtype):
    params, state = init_batch_norm(3, dtype=dtype)
    y, state = batch_norm(params, state, noise(4, 3).astype(dtype), True)
    assert [y.dtype, *(part.dtype for part in (*params, *state))] == [dtype] * 3 + ["float32", "float32", "int32"]


def test_torch_a_model_in_half_precision_has_its_averages_in_half():
    halved = jax.tree.map(lambda v: v.astype("bfloat16") if v.dtype.kind == "f" else v, STATE)
    with pytest.raises(TypeError, match=r"`state.mean` must be at least float32 to be updated, got bfloat16"):
        batch_norm(PARAMS, halved, jnp.ones([4, 3], "bfloat16"), True)
    assert batch_norm(PARAMS, halved, jnp.ones([4, 3], "bfloat16"), False)[0].dtype == jnp.bfloat16
