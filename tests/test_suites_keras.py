"""The cases of Keras 3's and of tf-keras's own tests of batch norm, as laws of ours against NumPy float64.

Both call theirs `batch_normalization_test.py`. Keras 3:
    test_correctness: `test_three_passes_..._is_that_of_training`, `test_before_training_...`.
    test_bachnorm_ignore_masked_values: `test_padding_is_not_seen_...`, also for NaN.
    test_masked_broadcast_normalization: `test_a_mask_of_steps_...`.
    test_large_value_within_autocast_scope: `test_a_variance_beyond_float16_...`.
    test_input_fully_masked: `test_normalization.py::test_nothing_to_normalise`.
    test_invalid_momentum: `bad_calls.py`, and for 0 and 1
        `test_traps_others.py::test_inplace_abn_momentum_weighs_the_new_value`.
    test_trainable_behavior: frozen is `train=False`, `test_traps_haiku_equinox.py::test_haiku_4_...`.
    test_bn_basics: counts of variables, `test_normalization.py::test_without_scale_or_bias`.
    test_renorm_basics, ..._invalid_clipping_keys, ..._stddev_initializer, ..._inference, ..._correctness: once there is
        a renorm here.
    test_serialization: makes no sense, there is no layer with a config.

tf-keras:
    test_batchnorm_convnet, ..._synchronized, ..._channel_last, test_batchnorm_correctness, ..._float16:
        `test_after_a_stationary_run_...`, `test_members_train_...`.
    test_batchnorm_mixed_precision: `test_half_precision_keeps_...`; ..._does_not_overflow:
        `test_traps_haiku_equinox.py::test_haiku_2_float16_squares_overflow`.
    test_batchnorm_ignore_masked_values, test_sync_batchnorm_with_mask: `test_padding_is_not_seen_...`.
    test_eager_batchnorm_in_custom_model_call_with_tf_function: `test_batches_of_one_value_...`.
    test_bessels_correction: `test_the_unbiased_variance_of_two_values`.
    test_can_be_used_in_multiple_graphs, test_shared_batchnorm: `test_one_state_goes_through_two_programs`.
    test_batchnorm_weights: as test_bn_basics; test_batchnorm_trainable: `test_normalization.py::test_training`.
    test_batchnorm_non_trainable_with_fit, test_that_trainable_disables_updates:
        `test_normalization.py::test_evaluation`.
    test_fused_batchnorm_empty_batch: `test_traps_torch_keras.py::test_keras_an_empty_batch_gives_nan`.
    test_basic_batchnorm_v2_input_shape_and_virtual_batch_size: once there are virtual batches here.
    test_basic_batchnorm, test_basic_batchnorm_v2, test_batchnorm_regularization: make no sense, what they check is the
        layer's framework (a regulariser belongs to the loss).
    test_batchnorm_sync_fused_error, test_v1_fused_attribute, test_v2_fused_attribute: make no sense, there is one
        implementation.
    test_updates_in_wrap_function: makes no sense, the update is what is returned.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.tolerances import TOLERANCE, assert_close

norm = jax.jit(batch_norm, static_argnames=("train", "axis", "ddof"))
LAYOUTS = [((5, 2, 3), -1), ((5, 2, 3), 1), ((5, 3, 3, 2), -1), ((5, 3, 3, 2), 1)]
every_layout = pytest.mark.parametrize(("shape", "axis"), LAYOUTS, ids=str)


def around_5(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(5, 10, shape).astype("float32").astype(dtype)


@every_layout
@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("var", [0.0, 1.0])
def test_before_training_evaluation_knows_the_initial_statistics_alone(shape, axis, mean, var):
    x, initial = around_5(*shape), {"mean_init": mean, "var_init": var}
    params, state = init_batch_norm(shape[axis], **{k: initializers.constant(v) for k, v in initial.items()})
    assert_close(norm(params, state, x, False, axis=axis)[0], reference.normalize(x, mean, var, axis=axis), 1e-6)


@every_layout
def test_three_passes_are_standardised_and_without_memory_evaluation_is_that_of_training(shape, axis):
    y = x = around_5(*shape)
    params, state = init_batch_norm(shape[axis], mean_init=initializers.ones, var_init=initializers.zeros)
    passes = [x]
    for _ in range(3):
        y, state = norm(params, state, y, True, axis=axis, momentum=0.0)
        passes.append(reference.batch_norm(passes[-1], axis=axis))
    last = reference.moments(passes[2], axis)
    assert_close(y, passes[3], TOLERANCE["float32"])
    assert_close((state.mean, state.var), (last.mean, reference.variance(last)), TOLERANCE["float32"])
    state = norm(params, state, x, True, axis=axis, momentum=0.0)[1]
    assert_close(norm(params, state, x, False, axis=axis)[0], passes[1], TOLERANCE["float32"])


@pytest.mark.parametrize("padding", [0.0, 0.1, 1.0, np.nan])
@pytest.mark.parametrize("members", [1, 2])
def test_padding_is_not_seen_by_one_device_or_by_two(members, padding):
    x = np.float32([[1, 5], [2, 5], [padding, padding], [padding, padding]])
    mask = np.array([1, 1, 0, 0], bool)[:, None]
    one = functools.partial(batch_norm, *init_batch_norm(2), train=True, momentum=0.0, axis_name="i")
    shards, masks = (np.broadcast_to(v, (members, 10 // members, *v.shape)) for v in (x, mask))
    y, state = jax.jit(jax.vmap(lambda x, mask: one(x, mask=mask), axis_name="i", out_axes=(0, None)))(shards, masks)
    assert_close((state.mean, state.var), (np.array([1.5, 5]), np.array([0.25, 0])), 0)
    expected = np.array([[-1, 0], [1, 0], [0, 0], [0, 0]]) * 0.5 / np.sqrt(0.25 + 1e-5)
    assert_close(y, np.broadcast_to(expected, shards.shape), TOLERANCE["float32"])


def test_a_mask_of_steps_holds_for_all_that_a_step_has():
    x, mask = around_5(1, 4, 3, 4), np.array([1, 0, 1, 1], bool).reshape(1, 4, 1, 1)
    y, state = norm(*init_batch_norm(4), x, True, mask=mask, momentum=0.0)
    kept = x[:, mask.ravel()]
    assert_close(y[:, mask.ravel()], reference.batch_norm(kept), TOLERANCE["float32"])
    assert_close(state, reference.running(np.zeros(4), np.ones(4), 0, [reference.moments(kept)], 0.0), 5e-6)


def test_a_variance_beyond_float16_is_kept():
    params, state = init_batch_norm(3, dtype="float16", var_init=initializers.constant(70000.0))
    assert np.array_equal(state.var, np.full(3, 70000, "float32"))
    x = (400 * np.random.default_rng(0).normal(size=(64, 3))).astype("float16")
    y, state = norm(params, state, x, True)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float16"])
    expected = reference.running(np.zeros(3), np.full(3, 7e4), 0, [reference.moments(x)])
    assert np.all(expected[1] > 65504)
    assert_close(state, expected, TOLERANCE["float32"])


def after_a_run(x, axis, **kwargs):
    """The state after `x[0]`, `x[1]`, and so on."""
    params, state = init_batch_norm(x.shape[1:][axis])

    def step(state, batch):
        return batch_norm(params, state, batch, True, axis=axis, **kwargs)[::-1]

    return jax.jit(lambda x: jax.lax.scan(step, state, x)[0])(x)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_after_a_stationary_run_evaluation_standardises_too(axis, dtype):
    x = around_5(40, 128, 2, 2, 2, dtype=dtype)
    batches = [reference.moments(batch, axis) for batch in x]
    mean, var, count = reference.running(np.zeros(2), np.ones(2), 0, batches, 0.8)
    state = after_a_run(x, axis, momentum=0.8)
    assert_close(state, (mean, var, count), TOLERANCE["float32"])
    params, rows = BatchNormParams(None, None), x.reshape(-1, 2, 2, 2)
    y = norm(params, state, rows, False, axis=axis)[0]
    assert y.dtype == dtype
    assert_close(y, reference.normalize(rows, mean, var, axis=axis), TOLERANCE[dtype])
    of_all = reference.moments(np.float64(y), axis)
    assert_close((of_all.mean, np.sqrt(reference.variance(of_all))), (np.zeros(2), np.ones(2)), 0.1)


def test_members_train_as_if_they_were_one():
    x = around_5(20, 4, 8, 2)
    run = functools.partial(after_a_run, axis=-1, momentum=0.8, axis_name="i")
    state = jax.vmap(run, in_axes=1, axis_name="i", out_axes=None)(x)
    batches = [reference.moments(batch) for batch in x]
    assert_close(state, reference.running(np.zeros(2), np.ones(2), 0, batches, 0.8), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("values", ["noise", "counted"])
def test_half_precision_keeps_parameters_and_state_in_single(values, dtype):
    x = np.arange(480.0).reshape(10, 4, 4, 3) if values == "counted" else around_5(10, 4, 4, 3)
    x = x.astype(jnp.dtype(dtype))
    params, state = init_batch_norm(3)
    y, state = norm(params, state, x, True, momentum=0.8)
    assert [v.dtype for v in (y, *params, state.mean, state.var)] == [dtype, *["float32"] * 4]
    assert_close(y, reference.batch_norm(x), TOLERANCE[dtype])


def test_batches_of_one_value_pull_the_variance_to_0():
    state = after_a_run(np.full((10, 1, 1), 0.5, "float32"), -1)
    assert_close(state, (np.array([0.5 * (1 - 0.99**10)]), np.array([0.99**10]), 10), 1e-6)


@pytest.mark.parametrize(("ddof", "variance"), [(0, 0.5), (1, 1.0)])
@pytest.mark.parametrize("ndim", [2, 4, 5])
def test_the_unbiased_variance_of_two_values(ndim, ddof, variance):
    x = np.float32([0, 2]).reshape(2, *[1] * (ndim - 1))
    params, state = init_batch_norm(1, var_init=initializers.zeros)
    y, state = norm(params, state, x, True, momentum=0.5, ddof=ddof)
    assert_close((state.mean, state.var), (np.array([0.5]), np.array([variance])), 0)
    assert_close(y.ravel(), np.array([-1, 1]) / np.sqrt(1 + 1e-5), TOLERANCE["float32"])


def test_one_state_goes_through_two_programs():
    """Data of other shapes, one stream after the other."""
    (params, state), streams = init_batch_norm(2), [around_5(6, 2), around_5(3, 2, 2, seed=1), around_5(6, 2, seed=2)]
    for x in streams:
        y, state = norm(params, state, x, True, epsilon=1e-3)
        assert_close(y, reference.batch_norm(x, epsilon=1e-3), TOLERANCE["float32"])
    expected = reference.running(np.zeros(2), np.ones(2), 0, [reference.moments(x) for x in streams])
    assert_close(state, expected, TOLERANCE["float32"])
