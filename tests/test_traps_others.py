"""The traps of Haiku's, Equinox's, Keras's and PyTorch's batch norms, one test for each: none of them is here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from tests import reference

PARAMS, STATE = init_batch_norm(3)


def noise(*shape, mean=0.0, std=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * std + mean).astype("float32")


def test_haiku_1_a_negative_variance_gives_nan():
    for seed in range(40):
        y, state = batch_norm(PARAMS, STATE, noise(257, 3, mean=3e4, std=0.1, seed=seed), True)
        assert np.all(np.isfinite(y))
        assert np.all(np.asarray(state.var) >= 0)


@pytest.mark.parametrize("value", [257, 6e4])
def test_haiku_2_float16_squares_overflow(value):
    x = (noise(64, 3) * value / 4).clip(-value, value).astype("float16")
    y, state = batch_norm(PARAMS, STATE, x, True)
    np.testing.assert_allclose(np.asarray(y, "float32"), reference.batch_norm(x), atol=4e-3)
    assert np.all(np.isfinite(state.var))


def test_haiku_3_a_decay_of_0999_is_1_in_bfloat16():
    params, state = init_batch_norm(3, dtype=jnp.bfloat16)
    _, state = batch_norm(params, state, jnp.ones((4, 3), jnp.bfloat16), True, momentum=0.999)
    np.testing.assert_allclose(state.mean, 0.001, rtol=1e-5)


def test_haiku_4_and_6_there_is_no_state_before_training_nor_outside_the_mapped_axis():
    y, state = batch_norm(*init_batch_norm(3), noise(4, 3), False, axis_name="nowhere")
    assert np.all(np.isfinite(y))
    assert state.count == 0


def test_haiku_5_initial_statistics_are_those_of_the_data():
    assert np.array_equal(STATE.mean, np.zeros(3))
    assert np.array_equal(STATE.var, np.ones(3))


def test_haiku_7_a_negative_axis_changes_the_shape_of_the_parameters():
    x = noise(4, 3, 5)
    for axis in (1, -2):
        y, state = batch_norm(PARAMS, STATE, x, True, axis=axis)
        np.testing.assert_allclose(y, reference.batch_norm(x, axis=1), atol=5e-6)
        assert state.mean.shape == (3,)


def test_haiku_8_the_complex_variance_is_complex():
    params, state = init_batch_norm(1, dtype="complex64")
    x = np.array([[1 + 1j], [-1 - 1j]], "complex64")
    state = batch_norm(params, state, x, True, momentum=0.0)[1]
    assert state.var.dtype == jnp.float32
    np.testing.assert_allclose(state.var, [2.0])


@pytest.mark.parametrize("steps", [1, 10, 100, 500])
@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_equinox_1_debiasing_multiplies_the_initial_variance(steps, averaging):
    x, state = noise(64, 3, std=2.0), STATE
    step = jax.jit(lambda state: batch_norm(PARAMS, state, x, True, averaging=averaging)[1])
    for _ in range(steps):
        state = step(state)
    np.testing.assert_allclose(state.var, x.astype("float64").var(0), rtol=1e-4)


def test_equinox_2_an_untrained_layer_divides_by_0():
    x = noise(4, 3)
    np.testing.assert_allclose(batch_norm(PARAMS, STATE, x, False)[0], x, rtol=1e-5)


def test_equinox_2_training_normalises_with_the_running_statistics():
    x = noise(64, 3, mean=5.0, std=3.0)
    np.testing.assert_allclose(batch_norm(PARAMS, STATE, x, True)[0], reference.batch_norm(x), atol=5e-6)


@pytest.mark.parametrize(("ddof", "scale"), [(0, 1.0), (1, 4 / 3)])
def test_equinox_3_the_variance_is_not_the_one_that_is_documented(ddof, scale):
    x = noise(4, 3)
    state = batch_norm(PARAMS, STATE, x, True, momentum=0.0, ddof=ddof)[1]
    np.testing.assert_allclose(state.var, x.astype("float64").var(0) * scale, rtol=1e-6)


def test_equinox_4_float16_gives_only_zeros():
    x = noise(256, 3, mean=300).astype("float16")
    y = np.asarray(batch_norm(PARAMS, STATE, x, True)[0], "float32")
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-2)


def test_equinox_5_old_states_are_invalidated():
    x = noise(4, 3)
    first = batch_norm(PARAMS, STATE, x, True)[1]
    again = batch_norm(PARAMS, STATE, x, True)[1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_equinox_6_a_single_example_needs_a_vmap():
    assert batch_norm(PARAMS, STATE, noise(3), False)[0].shape == (3,)


def test_keras_one_channel_with_a_mask_fails():
    params, state = init_batch_norm(1)
    x, mask = noise(4, 1), np.array([[True], [True], [True], [False]])
    np.testing.assert_allclose(
        batch_norm(params, state, x, True, mask=mask)[0][:3], reference.batch_norm(x[:3]), atol=5e-6
    )


def test_keras_channels_first_with_a_mask_fails():
    x, mask = noise(4, 3, 5), np.ones((4, 1, 5), bool)
    mask[2:, :, 1:] = False
    y = np.asarray(batch_norm(PARAMS, STATE, x, True, axis=1, mask=mask)[0])
    np.testing.assert_allclose(y, reference.batch_norm(x, axis=1, mask=mask), atol=5e-6)


def test_keras_an_empty_mask_decays_the_state():
    state = batch_norm(PARAMS, STATE, noise(4, 3), True, mask=np.zeros((4, 1), bool))[1]
    assert np.array_equal(state.var, STATE.var)


def test_keras_complex_data_comes_out_real():
    params, state = init_batch_norm(3, dtype="complex64")
    x = (noise(4, 3) + 1j * noise(4, 3, seed=1)).astype("complex64")
    y = batch_norm(params, state, x, True)[0]
    assert y.dtype == jnp.complex64
    np.testing.assert_allclose(y, reference.batch_norm(x), atol=5e-6)


def test_torch_a_batch_of_one_is_refused():
    y, state = batch_norm(PARAMS, STATE, noise(1, 3), True, ddof=1)
    assert np.all(np.asarray(y) == 0)
    assert np.array_equal(state.var, STATE.var)


def test_torch_an_empty_batch_counts_as_one():
    assert batch_norm(PARAMS, STATE, np.zeros((0, 3), "float32"), True)[1].count == 0


def test_torch_a_checkpoint_updates_twice():
    def loss(x):
        y, state = jax.checkpoint(lambda x: batch_norm(PARAMS, STATE, x, True))(x)
        return jnp.sum(y**2), state

    (_, state), _ = jax.value_and_grad(loss, has_aux=True)(noise(4, 3))
    assert state.count == 1


def test_torch_nested_forward_derivatives_are_wrong():
    with jax.enable_x64(True):
        x, v = (jnp.asarray(noise(6, 3, seed=seed), "float64") for seed in (0, 1))

        def along(t):
            return jnp.sum(jnp.sin(batch_norm(PARAMS, STATE, x + t * v, True)[0]))

        forward = jax.jvp(lambda t: jax.jvp(along, (t,), (1.0,))[1], (0.0,), (1.0,))[1]
        h = 1e-4
        differences = (along(h) - 2 * along(0.0) + along(-h)) / h**2
        np.testing.assert_allclose(forward, jax.grad(jax.grad(along))(0.0), rtol=1e-10)
        np.testing.assert_allclose(forward, differences, rtol=1e-5)
