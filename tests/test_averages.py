"""What `batch_norm` remembers of its batches, by momentum, averaging and kind of variance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import BatchNormParams, Moments, batch_norm, init_batch_norm, init_state, update_state
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close

pytestmark = pytest.mark.slow

PARAMS, STATE = init_batch_norm(3)
norm = jax.jit(batch_norm, static_argnames=("train", "axis", "averaging", "ddof"))
update = jax.jit(update_state, static_argnames="averaging")
around_5 = functools.partial(noise, mean=5, std=10)


def averages(values, **kwargs):
    """The running mean after each batch; a batch is one value, twice."""
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
def test_averages_after_each_batch(values, kwargs, expected):
    assert_close(averages(values, **kwargs), expected, 1e-6)


@pytest.mark.parametrize(("values", "debiased"), [([3.0], 3), ([3.0, 6.0], 5), ([3.0, 6.0, 5.0], 5)])
def test_the_debiased_average_is_the_one_that_starts_at_0_over_its_weight(values, debiased):
    assert_close(averages(values, momentum=0.5)[-1] / (1 - 0.5 ** len(values)), debiased, 1e-6)


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_the_first_batch_replaces_the_initial_mean_and_the_initial_variance(averaging):
    x = noise(8, 3, mean=5.0, std=3.0)
    moments, state = reference.moments(x), batch_norm(PARAMS, STATE, x, True, momentum=0.999, averaging=averaging)[1]
    assert_close((state.mean, state.var), (moments.mean, reference.variance(moments)), 1e-6)


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_equal_patterns_come_out_equal_and_one_batch_is_all_that_evaluation_knows(averaging):
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)  # four channels that are one, moved by 1
    params, state = init_batch_norm(4)
    y, state = norm(params, state, x, True, averaging=averaging)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    assert_close(y, np.repeat(np.asarray(y)[..., :1], 4, -1), 1e-6)
    assert_close(norm(params, state, x, False)[0], reference.batch_norm(x), TOLERANCE["float32"])


@pytest.mark.parametrize("steps", [1, 10, 100, 500])
@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
def test_equal_batches_leave_nothing_of_the_initial_variance(steps, averaging):
    x, state = noise(64, 3, std=2.0), STATE
    for _ in range(steps):
        state = norm(PARAMS, state, x, True, averaging=averaging)[1]
    np.testing.assert_allclose(state.var, x.astype("float64").var(0), rtol=1e-4)


def test_a_cumulative_mean_is_of_equal_weights_and_counts():
    params, state = init_batch_norm(3, mean_init=initializers.constant(7), var_init=initializers.zeros)
    batches = [noise(4, 3) + i for i in range(3)]
    assert np.all(np.asarray(state.mean) == 7)
    for x in batches:
        state = batch_norm(params, state, x, True, averaging="cumulative")[1]
    assert state.count == 3
    np.testing.assert_allclose(state.mean, np.mean(batches, (0, 1)), rtol=1e-6)


@pytest.mark.parametrize("ddof", [0, 1])
def test_the_average_of_equal_batches_leaves_out_the_variance_between_them(ddof):
    batches, state = [noise(4, 3, 3, 2, mean=3.0 * i, std=2, seed=i) for i in range(8)], STATE
    for x in batches:
        state = norm(PARAMS, state, x, True, axis=1, averaging="cumulative", ddof=ddof)[1]
    every = np.float64(batches)
    assert_close(state.mean, every.mean((0, 1, 3, 4)), TOLERANCE["float32"])
    assert_close(state.var, every.var((1, 3, 4), ddof=ddof).mean(0), TOLERANCE["float32"])
    assert np.all(every.var((0, 1, 3, 4)) > 5 * np.asarray(state.var))


@pytest.mark.parametrize("every", [1, 5, 10, 20])
def test_averages_may_be_averaged_now_and_then(every):
    """They are linear in what they have seen, so that it does not matter how often."""
    x = np.stack([noise(4, 3, mean=value, std=2, seed=1) for value in (1.5, 4, 8.5)])

    @jax.jit
    def run(states):
        def step(states, t):
            _, states = jax.vmap(functools.partial(batch_norm, PARAMS, train=True, momentum=0.9))(states, x)
            shared = jax.tree.map(lambda v: jnp.broadcast_to(v.mean(0).astype(v.dtype), v.shape), states)
            return jax.tree.map(functools.partial(jnp.where, t % every == 0), shared, states), None

        return jax.lax.scan(step, states, jnp.arange(1, 21))[0]

    states = run(jax.tree.map(lambda v: jnp.stack([v] * 3), STATE))
    old, double = 0.9**20, np.float64(x)
    closed = ((1 - old) * double.mean((0, 1)), old + (1 - old) * double.var(1).mean(0), 20)
    for member in range(3):
        assert_close([v[member] for v in states], closed, TOLERANCE["float32"])


@pytest.mark.parametrize(("ddof", "scale"), [(0, 1.0), (1, 4 / 3)])
def test_the_running_variance_is_biased_or_unbiased(ddof, scale):
    x = noise(4, 3)
    state = batch_norm(PARAMS, STATE, x, True, momentum=0.0, ddof=ddof)[1]
    np.testing.assert_allclose(state.var, x.astype("float64").var(0) * scale, rtol=1e-6)


@pytest.mark.parametrize(("ddof", "variance"), [(0, 0.5), (1, 1.0)])
@pytest.mark.parametrize("ndim", [2, 4, 5])
def test_the_variance_of_two_values(ndim, ddof, variance):
    x = np.float32([0, 2]).reshape(2, *[1] * (ndim - 1))
    params, state = init_batch_norm(1, var_init=initializers.zeros)
    y, state = norm(params, state, x, True, momentum=0.5, ddof=ddof)
    assert_close((state.mean, state.var), (np.array([0.5]), np.array([variance])), 0)
    assert_close(y.ravel(), np.array([-1, 1]) / np.sqrt(1 + 1e-5), TOLERANCE["float32"])


@pytest.mark.parametrize("ddof", [0, 1])
def test_every_way_estimates_the_same_variance(ddof):
    x = noise(2, 2, 4, 3)
    one = functools.partial(batch_norm, PARAMS, STATE, momentum=0.0, ddof=ddof)
    flat = jax.jit(lambda x: one(x, True))(x.reshape(16, 3))[1]
    masked = jax.jit(lambda x, mask: one(x, True, mask=mask))(x, np.ones((2, 2, 4, 1), bool))[1]
    traced = jax.jit(lambda x, train: one(x, train, axis=1))(np.moveaxis(x, -1, 1), True)[1]
    mapped = jax.vmap(lambda x: one(x, True, axis_name="i"), axis_name="i", out_axes=(0, None))
    expected = reference.running(*STATE, [reference.moments(x)], 0.0, ddof=ddof)
    for state in (flat, masked, traced, jax.jit(mapped)(x.reshape(4, 4, 3))[1]):
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


def test_batches_of_one_value_pull_the_variance_to_0():
    state = after_a_run(np.full((10, 1, 1), 0.5, "float32"), -1)
    assert_close(state, (np.array([0.5 * (1 - 0.99**10)]), np.array([0.99**10]), 10), 1e-6)
