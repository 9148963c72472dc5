"""The traps of Flax's batch norms, one test for each: none of them is here. Numbers as the project lists them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxbn import batch_moments, batch_norm, init_batch_norm
from jaxbn.linen import BatchNorm
from tests import reference
from tests.tolerances import TOLERANCE, assert_close

PARAMS, STATE = init_batch_norm(3)
SPLIT, WHOLE = PartitionSpec("i"), PartitionSpec()


def noise(*shape, mean=0.0, std=1.0):
    return (np.random.default_rng(0).normal(size=shape) * std + mean).astype("float32")


@pytest.mark.parametrize("mean", [1e2, 1e3, 1e4])
def test_linen_1_the_variance_vanishes_for_a_large_mean(mean):
    x = noise(4096, 3, mean=mean)
    var = jax.jit(batch_moments)(x).m2 / len(x)
    np.testing.assert_allclose(var, reference.moments(x).m2 / len(x), rtol=1e-6)


def test_linen_2_a_clamp_cuts_the_gradient():
    x = noise(4, 3, mean=1e3, std=0.1)
    weight = noise(4, 3)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(weight * batch_norm(PARAMS, STATE, x, True)[0])))(x)
    expected = reference.gradient(x, weight, 1.0)[0]
    np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-3)


def test_linen_3_masked_shards_are_averaged_without_their_counts():
    x = noise(2, 4, 3)
    x[1] = np.nan
    mask = np.zeros((2, 4, 1), bool)
    mask[0, :3] = True
    shards = jax.vmap(lambda x, m: batch_norm(PARAMS, STATE, x, True, mask=m, axis_name="i"), axis_name="i")
    y, state = jax.jit(shards)(x, mask)
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
    dx = jax.jit(jax.grad(lambda x: jnp.sum(batch_norm(PARAMS, STATE, x, True, mask=mask)[0] ** 3)))(x)
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


def four_devices():
    return jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


def quarters():
    """Four batches in one, whose statistics are far from those of the whole."""
    return noise(20, 3) + np.repeat(np.arange(0, 20, 5, "float32"), 5)[:, None]


def spread_out(x, out_specs, *, keep=lambda y, state: (y, state), **kwargs):
    """`batch_norm` with a quarter of `x` on each of four devices, and of what it returns what `keep` does."""
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, **kwargs)
    return jax.jit(jax.shard_map(lambda x: keep(*one(x)), mesh=four_devices(), in_specs=SPLIT, out_specs=out_specs))(x)


def moved(*batches):
    return reference.running(*STATE, [reference.moments(x) for x in batches])


def test_linen_13_a_state_that_is_said_to_be_replicated_differs_per_device():
    x = quarters()
    with pytest.raises(ValueError, match="out_specs"):
        spread_out(x, (SPLIT, WHOLE))
    y, state = spread_out(x, (SPLIT, WHOLE), axis_name="i")
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    for device in range(4):
        assert_close([part.addressable_data(device) for part in state], moved(x), TOLERANCE["float32"])


def test_linen_13_there_are_no_groups_of_devices():
    x, rows = quarters(), np.repeat(np.arange(4), 5)
    groups = [[0, 3], [1, 2]]
    y, mean = spread_out(x, SPLIT, keep=lambda y, state: (y, state.mean[None]), axis_name="i", axis_index_groups=groups)
    for group in groups:
        shared = x[np.isin(rows, group)]
        assert_close(y[np.isin(rows, group)], reference.batch_norm(shared), TOLERANCE["float32"])
        assert_close(mean[np.array(group)], np.tile(moved(shared)[0], (2, 1)), TOLERANCE["float32"])


def test_linen_13_there_are_no_local_statistics_under_jit():
    x = quarters()

    def local(x):
        return jax.vmap(lambda x: batch_norm(PARAMS, STATE, x, True))(x.reshape(4, 5, 3))

    split = jax.device_put(x, NamedSharding(four_devices(), SPLIT))
    program = jax.jit(local).lower(split).compile()
    y, states = program(split)
    for i, part in enumerate(x.reshape(4, 5, 3)):
        assert_close(y[i], reference.batch_norm(part), TOLERANCE["float32"])
        assert_close([part[i] for part in states], moved(part), TOLERANCE["float32"])
    assert "all-reduce" not in program.as_text()
    assert "all-gather" not in program.as_text()


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
    _, states = jax.jit(jax.vmap(lambda x: batch_norm(PARAMS, STATE, x, True)))(noise(2, 4, 3))
    assert states.mean.shape == (2, 3)


def by_core(x, mean):
    return batch_norm(PARAMS, STATE._replace(mean=mean), x, True)[1]


def by_layer(x, mean):
    variables = {"params": PARAMS._asdict(), "batch_stats": {"mean": mean, "var": STATE.var}}
    return BatchNorm(use_running_average=False).apply(variables, x, mutable="batch_stats")[1]["batch_stats"]


@pytest.mark.parametrize("step", [by_core, by_layer])
def test_nnx_6_only_some_states_stop_the_gradient(step):
    def total(x, mean):
        return sum(jnp.sum(part.astype("float32")) for part in jax.tree.leaves(step(x, mean)))

    assert_close(jax.jit(jax.grad(total, (0, 1)))(noise(4, 3), STATE.mean), (np.zeros((4, 3)), np.zeros(3)), 0)
