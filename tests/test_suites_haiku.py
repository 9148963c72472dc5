"""The cases of Haiku's own tests of batch norm and of moving averages, as laws of ours against NumPy float64.

`batch_norm_test.py`:
    test_basic: `test_equal_patterns_come_out_equal_and_one_batch_is_all_that_evaluation_knows`.
    test_simple_training, ..._nchw, ..._normalized_axes, test_no_scale_and_offset: `test_constant_features_...`.
    test_simple_training_cross_replica_axis, ..._index_groups: `test_members_of_one_value_each_...`; more than a value
        each in `test_parallel.py`.
    test_eps_cast_to_var_dtype, test_no_type_promotion: `test_a_number_of_python_...`, `test_trained_in_float32_...`.
    test_no_scale_and_init_provided, test_no_offset_beta_init_provided: make no sense, an initialiser that is not
        needed is not used here, as in Flax (`test_normalization.py::test_without_scale_or_bias`).

`moving_averages_test.py`, whose averages are those of `update_state`:
    test_zero_decay, test_warmup, test_fast_slow_decay: `test_averages_of_two_values`.
    test_call: `test_the_debiased_average_is_the_one_that_starts_at_0_over_its_weight`; there is no option for it.
    test_ema_is_identity_on_unchanged_data: `test_running.py::test_equal_batches_show_no_trace_of_the_initial_values`.
    test_fast_slow_decay_without_update: evaluation, `test_normalization.py::test_evaluation`.
    test_invalid_warmup_length, test_warmup_length_and_zero_debias: make no sense, `averaging` is one word of three
        (and no other: `bad_calls.py`).
    test_initialize: makes no sense, a state is made before it is used and never by a call.
    test_ema_naming_scheme, test_ema_on_changing_data, test_ignore_regex, test_tree_update_stats: make no sense, they
        average parameters.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxbn import BatchNormParams, Moments, batch_norm, init_batch_norm, init_state, update_state
from tests import reference
from tests.tolerances import TOLERANCE, assert_close, assert_same

norm = jax.jit(batch_norm, static_argnames=("train", "axis", "averaging"))
update = jax.jit(update_state, static_argnames="averaging")


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_equal_patterns_come_out_equal_and_one_batch_is_all_that_evaluation_knows(averaging):
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)  # four channels that are one, moved by 1
    params, state = init_batch_norm(4)
    y, state = norm(params, state, x, True, averaging=averaging)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    assert_close(y, np.repeat(np.asarray(y)[..., :1], 4, -1), 1e-6)
    assert_close(norm(params, state, x, False)[0], reference.batch_norm(x), TOLERANCE["float32"])


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3, 3, 5), -1), ((2, 5, 3, 3), 1), ((5, 2, 3, 3), 0), ((2, 5, 3, 3, 3), (1, -1))]
)
def test_constant_features_of_different_values_give_exactly_bias(shape, axis, affine):
    axes = [a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))]
    features, kept = [shape[a] for a in axes], [n if a in axes else 1 for a, n in enumerate(shape)]
    bias = np.arange(np.prod(features), dtype="float32").reshape(features)
    _, state = init_batch_norm(features)
    params = BatchNormParams(jnp.full(features, 0.5), jnp.asarray(bias)) if affine else BatchNormParams(None, None)
    y, _ = norm(params, state, np.broadcast_to(bias.reshape(kept) + 2, shape), True, axis=axis)
    assert_same(y, np.broadcast_to(bias.reshape(kept) * affine, shape))


def by_vmap(member):
    return jax.vmap(member, axis_name="i")


def by_shard_map(member):
    mesh, each = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,)), PartitionSpec("i")
    return jax.shard_map(lambda x: member(x[0])[None], mesh=mesh, in_specs=each, out_specs=each)


@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]], [[2, 0], [3, 1]]], ids=str)
@pytest.mark.parametrize("way", [by_vmap, by_shard_map])
def test_members_of_one_value_each_are_a_batch_together(way, groups):
    """What each of them holds is `[features]`: alone, it would have nothing to average over."""
    x, (params, state) = np.arange(16, dtype="float32").reshape(4, 4) ** 2, init_batch_norm(4)
    one = functools.partial(batch_norm, params, state, train=True, axis_name="i", axis_index_groups=groups)
    y = np.asarray(jax.jit(way(lambda x: one(x)[0]))(x))
    for group in groups or [[0, 1, 2, 3]]:
        assert_close(y[group], reference.batch_norm(x[group]), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("train", [True, False])
def test_a_number_of_python_widens_nothing(train, dtype):
    """NumPy arrays, as they come back from a device, and an epsilon that no half precision holds exactly."""
    x = np.linspace(-3, 5, 12).reshape(4, 3).astype(jnp.dtype(dtype))
    params, state = jax.device_get(init_batch_norm(3, dtype=dtype))
    y, new = norm(params, state, x, train, epsilon=0.1)
    wide = x.astype("float64")
    expected = reference.batch_norm(wide, epsilon=0.1) if train else reference.normalize(wide, 0, 1, epsilon=0.1)
    assert y.dtype == dtype
    assert [part.dtype for part in new] == ["float32", "float32", "int32"]
    assert_close(y, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("halved", ["params", "state", "both"])
def test_trained_in_float32_and_evaluated_in_bfloat16(halved):
    x = np.random.default_rng(0).normal(2, 3, [100, 5]).astype("float32")
    params = BatchNormParams(jnp.full(5, 1.3), jnp.full(5, -0.7))
    state = norm(params, init_batch_norm(5)[1], x, True, momentum=0.5)[1]
    half = functools.partial(jax.tree.map, lambda v: v.astype("bfloat16") if v.dtype == "float32" else v)
    if halved != "state":
        params = half(params)
    if halved != "params":
        state = half(state)
    y, after = norm(params, state, half(x), False)
    assert y.dtype == jnp.bfloat16
    assert_same(after, state)
    expected = reference.normalize(half(x), state.mean, state.var, params.scale, params.bias)
    assert_close(y, expected, TOLERANCE["bfloat16"])


def averages(values, **kwargs):
    """The running means after each of some batches, every one of them a value twice."""
    state, seen = init_state(1), []
    for value in values:
        state = update(state, Moments(*(jnp.full(1, v) for v in (2.0, value, 0.0))), **kwargs)
        seen.append(float(state.mean[0]))
    return seen


@pytest.mark.parametrize(
    ("values", "kwargs", "expected"),
    [
        ([3.0, -7.0], {"momentum": 0.0}, [3, -7]),
        ([3.0, 3.0, 6.0], {"momentum": 0.5, "averaging": "warmup"}, [3, 3, 4.5]),
        ([1.0, 2.0, 2.0], {"momentum": 0.2, "averaging": "warmup"}, [1, 1.8, 1.96]),
        ([1.0, 2.0, 2.0], {"momentum": 0.8, "averaging": "warmup"}, [1, 1.5, 5 / 3]),
        ([1.0, 2.0, 6.0], {"momentum": 0.2, "averaging": "cumulative"}, [1, 1.5, 3]),
    ],
    ids=["no-memory", "warm-up", "fast", "slow", "cumulative"],
)
def test_averages_of_two_values(values, kwargs, expected):
    assert_close(averages(values, **kwargs), expected, 1e-6)


@pytest.mark.parametrize(("values", "debiased"), [([3.0], 3), ([3.0, 6.0], 5), ([3.0, 6.0, 5.0], 5)])
def test_the_debiased_average_is_the_one_that_starts_at_0_over_its_weight(values, debiased):
    assert_close(averages(values, momentum=0.5)[-1] / (1 - 0.5 ** len(values)), debiased, 1e-6)
