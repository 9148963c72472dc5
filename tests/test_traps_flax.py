"""The traps of Flax's batch norms, one test for each: none of them is here. Numbers as the project lists them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_moments, batch_norm, init_batch_norm
from jaxbn.linen import BatchNorm
from tests import reference

PARAMS, STATE = init_batch_norm(3)


def noise(*shape, mean=0.0, std=1.0):
    return (np.random.default_rng(0).normal(size=shape) * std + mean).astype("float32")


@pytest.mark.parametrize("mean", [1e2, 1e3, 1e4])
def test_linen_1_the_variance_vanishes_for_a_large_mean(mean):
    x = noise(4096, 3, mean=mean)
    var = batch_moments(x).m2 / len(x)
    np.testing.assert_allclose(var, reference.moments(x).m2 / len(x), rtol=1e-6)


def test_linen_2_a_clamp_cuts_the_gradient():
    x = noise(4, 3, mean=1e3, std=0.1)
    weight = noise(4, 3)
    dx = jax.grad(lambda x: jnp.sum(weight * batch_norm(PARAMS, STATE, x, True)[0]))(x)
    expected = reference.gradient(x, weight, 1.0)[0]
    np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-3)


def test_linen_3_masked_shards_are_averaged_without_their_counts():
    x = noise(2, 4, 3)
    x[1] = np.nan
    mask = np.zeros((2, 4, 1), bool)
    mask[0, :3] = True
    shards = jax.vmap(lambda x, m: batch_norm(PARAMS, STATE, x, True, mask=m, axis_name="i"), axis_name="i")
    y, state = shards(x, mask)
    np.testing.assert_allclose(y[0, :3], reference.batch_norm(x[0, :3]), atol=5e-6)
    np.testing.assert_allclose(state.mean[1], 0.01 * x[0, :3].mean(0), rtol=1e-5)


@pytest.mark.parametrize("x", [np.zeros((0, 3), "float32"), noise(4, 3)])
def test_linen_4_nothing_to_normalise_poisons_the_state(x):
    y, state = batch_norm(PARAMS, STATE, x, True, mask=np.zeros((len(x), 1), bool))
    assert np.all(np.asarray(y) == 0)
    assert all(np.array_equal(new, old) for new, old in zip(state, STATE, strict=True))


def test_linen_5_nan_in_the_padding_reaches_every_gradient():
    x = noise(4, 3)
    x[3] = np.nan
    mask = np.array([True, True, True, False])[:, None]
    dx = jax.grad(lambda x: jnp.sum(batch_norm(PARAMS, STATE, x, True, mask=mask)[0] ** 3))(x)
    assert np.all(np.isfinite(dx))
    assert np.all(np.asarray(dx)[3] == 0)


def test_linen_6_a_mask_of_examples_is_taken_for_one_of_channels():
    with pytest.raises(ValueError, match=r"`mask` must have as many dimensions as `x` \(3, 3\)"):
        batch_norm(PARAMS, STATE, noise(3, 3), True, mask=np.ones(3, bool))


def test_linen_6_masked_outputs_are_not_zeroed_and_evaluation_ignores_the_mask():
    mask = np.array([True, False])[:, None]
    for train in (True, False):
        assert np.all(np.asarray(batch_norm(PARAMS, STATE, noise(2, 3, mean=5), train, mask=mask)[0])[1] == 0)


def test_linen_7_the_dtype_of_the_state_drifts():
    with jax.enable_x64(True):
        wide = batch_norm(PARAMS, STATE, np.ones((4, 3)), True)[1]
    params, state = init_batch_norm(3, dtype="complex64")
    turned = batch_norm(params, state, noise(4, 3) * (1 + 1j), True)[1]
    assert [part.dtype for part in wide] == [part.dtype for part in STATE]
    assert [part.dtype for part in turned] == [part.dtype for part in state]


def test_linen_8_bfloat16_comes_out_as_float32():
    assert batch_norm(PARAMS, STATE, jnp.ones((4, 3), jnp.bfloat16), True)[0].dtype == jnp.bfloat16
    layer = BatchNorm(use_running_average=False)
    y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((4, 3), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16


def test_linen_9_a_running_mean_in_bfloat16_sticks():
    params, state = init_batch_norm(3, dtype=jnp.bfloat16)
    x = jnp.full((4, 3), 3.03, jnp.bfloat16)
    step = jax.jit(lambda state: batch_norm(params, state, x, True, momentum=0.999)[1])
    for _ in range(3000):
        state = step(state)
    np.testing.assert_allclose(state.mean, float(x[0, 0]) * (1 - 0.999**3000), rtol=1e-3)


def test_linen_10_gradients_flow_into_the_state():
    slope = jax.grad(lambda x: sum(jnp.sum(part) for part in batch_norm(PARAMS, STATE, x, True)[1][:2]))(noise(4, 3))
    assert np.all(np.asarray(slope) == 0)


def test_linen_11_axes_are_sorted_merged_or_out_of_range():
    x = noise(5, 2, 3)
    params, state = init_batch_norm((3, 2))
    state = batch_norm(params, state, x, True, axis=(2, 1), momentum=0.0)[1]
    np.testing.assert_allclose(state.mean, x.mean(0).T, atol=1e-6)
    with pytest.raises(ValueError, match="must not name an axis twice"):
        batch_norm(PARAMS, STATE, x, True, axis=(2, -1))
    with pytest.raises(ValueError, match=r"must lie in \[-3, 3\)"):
        batch_norm(PARAMS, STATE, x, True, axis=3)


def test_linen_12_the_state_needs_no_mutable_collection():
    assert len(batch_norm(PARAMS, STATE, noise(4, 3), True)) == len(batch_norm(PARAMS, STATE, noise(4, 3), False)) == 2


def test_linen_14_no_initialisers_counter_or_cumulative_mean():
    params, state = init_batch_norm(3, mean_init=jax.nn.initializers.constant(7), var_init=jax.nn.initializers.zeros)
    batches = [noise(4, 3) + i for i in range(3)]
    assert np.all(np.asarray(state.mean) == 7)
    for x in batches:
        state = batch_norm(params, state, x, True, averaging="cumulative")[1]
    assert state.count == 3
    np.testing.assert_allclose(state.mean, np.mean(batches, (0, 1)), rtol=1e-6)


def test_nnx_1_evaluation_rounds_the_running_statistics():
    state = STATE._replace(mean=jnp.full(3, 100.3), var=jnp.full(3, 1.7))
    x = jnp.tile(jnp.array([[100], [100.5], [101]], jnp.bfloat16), 3)
    y = batch_norm(PARAMS, state, x, False)[0]
    expected = (np.array([100, 100.5, 101]) - 100.3) / np.sqrt(1.7 + 1e-5)
    np.testing.assert_allclose(np.asarray(y, "float32")[:, 0], expected, rtol=2**-8)


@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
def test_nnx_2_masks_of_numbers_are_refused(dtype):
    mask = np.array([[1], [1], [0]], dtype)
    y = batch_norm(PARAMS, STATE, noise(3, 3), True, mask=mask)[0]
    np.testing.assert_allclose(y[:2], reference.batch_norm(noise(3, 3)[:2]), atol=5e-6)


def test_nnx_3_a_complex_mean_loses_its_imaginary_part():
    params, state = init_batch_norm(3, dtype="complex64")
    x = (noise(4, 3) + 2j).astype("complex64")
    np.testing.assert_allclose(batch_norm(params, state, x, True, momentum=0.0)[1].mean, x.mean(0), rtol=1e-6)


def test_nnx_4_the_wrong_number_of_features_broadcasts():
    params, state = init_batch_norm(5, use_scale=False, use_bias=False)
    with pytest.raises(ValueError, match=r"`state.mean` must have the shape \(1,\)"):
        batch_norm(params, state, noise(4, 1), True)


def test_nnx_5_members_of_a_vmap_cannot_train():
    _, states = jax.vmap(lambda x: batch_norm(PARAMS, STATE, x, True))(noise(2, 4, 3))
    assert states.mean.shape == (2, 3)
