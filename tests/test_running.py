"""`update_state` has closed forms, whatever the momentum, the averaging and the counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxbn import BatchNormState, Moments, init_state, update_state
from tests import reference
from tests.data import noise
from tests.strategies import averagings, momenta
from tests.tolerances import TOLERANCE, assert_close, assert_same

every_averaging = pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
update = jax.jit(update_state, static_argnames=("averaging", "ddof"))


def drawn(steps, seed=0):
    """Moments of `steps` batches: counts of at least 2, means about 3, variances about 4."""
    random = np.random.default_rng(seed)
    count = random.integers(2, 9, [steps, 3])
    return Moments(
        jnp.asarray(count, "float32"),
        jnp.asarray(random.normal(3, 1, [steps, 3]), "float32"),
        jnp.asarray(count * random.uniform(2, 6, [steps, 3]), "float32"),
    )


def after(state, batches, **kwargs):
    @jax.jit
    def run(state, batches):
        return jax.lax.scan(lambda s, m: (update_state(s, m, **kwargs), None), state, batches)[0]

    return run(state, batches)


def per_step(batches):
    return [reference.Statistics(*(np.asarray(part, "float64")[t] for part in batches)) for t in range(len(batches[0]))]


@pytest.mark.parametrize("ddof", [0, 1])
@every_averaging
def test_recursion(averaging, ddof):
    batches = drawn(20)
    got = after(init_state(3), batches, momentum=0.9, averaging=averaging, ddof=ddof)
    expected = reference.running(np.zeros(3), np.ones(3), 0, per_step(batches), 0.9, averaging, ddof)
    assert_close(got, expected, TOLERANCE["float32"])


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_closed_forms(steps, ddof):
    m, batches, state = 0.9, drawn(steps), init_state(3)
    means = np.asarray(batches.mean, "float64")
    variances = np.asarray(batches.m2, "float64") / (np.asarray(batches.count) - ddof)
    decay = m ** np.arange(steps - 1, -1, -1.0)[:, None]
    ema = after(state, batches, momentum=m, averaging="ema", ddof=ddof)
    assert_close(ema.mean, (1 - m) * (decay * means).sum(0), TOLERANCE["float32"])
    assert_close(ema.var, m**steps + (1 - m) * (decay * variances).sum(0), TOLERANCE["float32"])
    cumulative = after(state, batches, momentum=m, averaging="cumulative", ddof=ddof)
    assert_close(cumulative[:2], [means.mean(0), variances.mean(0)], TOLERANCE["float32"])
    warm = after(state, batches, momentum=m, averaging="warmup", ddof=ddof)
    if steps <= 10:  # t / (t + 1) reaches 0.9 at t = 9
        assert_close(warm, cumulative, TOLERANCE["float32"])
    else:
        first, rest = means[:10].mean(0), means[10:]
        decay = m ** np.arange(steps - 11, -1, -1.0)[:, None]
        assert_close(warm.mean, m ** (steps - 10) * first + (1 - m) * (decay * rest).sum(0), TOLERANCE["float32"])
    assert ema.count == cumulative.count == warm.count == steps


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
@pytest.mark.parametrize("steps", [1, 3, 100, 500])
def test_equal_batches_show_no_trace_of_the_initial_values(steps, averaging):
    count, mean, variance = np.full(3, 8.0), np.array([2.0, -300.0, 0.0]), np.array([4.0, 1e-4, 1e6])
    batches = Moments(*(jnp.asarray(np.stack([p] * steps), "float32") for p in (count, mean, count * variance)))
    wild = BatchNormState(jnp.full(3, 1e6), jnp.full(3, 1e12), jnp.asarray(0, jnp.int32))
    for state in (init_state(3), wild):
        got = after(state, batches, momentum=0.99, averaging=averaging)
        np.testing.assert_allclose(got.mean, mean, rtol=1e-5)
        np.testing.assert_allclose(got.var, variance, rtol=1e-5)


@given(momenta(), averagings(), st.sampled_from([0, 1]), st.integers(0, 200), st.integers(0, 99))
@example(0.00390625, "ema", 1, 0, 54)
def test_any_update(momentum, averaging, ddof, count, seed):
    state = BatchNormState(jnp.asarray([1e3, 0.0, -1.0]), jnp.asarray([1.0, 0.0, 1e3]), jnp.asarray(count, jnp.int32))
    batch = jax.tree.map(lambda part: part[0], drawn(1, seed))
    batch = batch._replace(count=batch.count.at[seed % 3].set(seed % 2), m2=batch.m2.at[seed % 3].set(0))
    got = update(state, batch, momentum=momentum, averaging=averaging, ddof=ddof)
    one = reference.Statistics(*(np.asarray(part, "float64") for part in batch))
    expected = reference.running(*state, [one], momentum, averaging, ddof)
    for part, right, old in zip(got[:2], expected[:2], state[:2], strict=True):
        # By a step from the old value, of whose size the rounding is.
        size, rounding = max(1, np.abs(right).max()), np.finfo("float32").eps * np.abs(old)
        assert (np.abs(part - right) <= TOLERANCE["float32"] * size + rounding).all()
    assert got.count == expected[2]
    assert [p.dtype for p in got] == ["float32", "float32", "int32"]


@every_averaging
@pytest.mark.parametrize("ddof", [0, 1])
def test_no_data_leaves_the_state_alone(averaging, ddof):
    state = BatchNormState(jnp.asarray([0.1, 7.0, -3e8]), jnp.asarray([0.3, 0.0, 1e9]), jnp.asarray(5, jnp.int32))
    for mean in (0.0, np.nan, np.inf):
        nothing = Moments(jnp.zeros(3), jnp.full(3, mean), jnp.zeros(3))
        assert_same(update(state, nothing, averaging=averaging, ddof=ddof), state)


def test_a_feature_without_data_stays_while_the_others_move():
    state, batch = init_state(2), Moments(jnp.asarray([0.0, 4.0]), jnp.asarray([9.0, 9.0]), jnp.asarray([0.0, 8.0]))
    got = update(state, batch, momentum=0.5)
    assert_close(got, (np.array([0, 4.5]), np.array([1, 1.5]), 1), TOLERANCE["float32"])


@every_averaging
def test_one_value_has_no_unbiased_variance(averaging):
    state = BatchNormState(jnp.asarray([1.0]), jnp.asarray([0.3]), jnp.asarray(3, jnp.int32))
    one = Moments(jnp.ones(1), jnp.full(1, 5.0), jnp.zeros(1))
    unbiased, biased = (update(state, one, momentum=0.5, averaging=averaging, ddof=d) for d in (1, 0))
    old = 0.75 if averaging == "cumulative" else 0.5
    assert_same(unbiased.var, state.var)
    assert_close(biased.var, np.array([old * 0.3]), TOLERANCE["float32"])
    assert_close(unbiased.mean, np.array([old + (1 - old) * 5]), TOLERANCE["float32"])
    assert unbiased.count == 4


@pytest.mark.parametrize("momentum", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("mean", [1.0, 1e4])
def test_long_averages_lose_nothing_to_rounded_weights(mean, momentum):
    """In float32, 0.999 and 0.001 do not add up to 1, and their products are rounded where the mean is large."""
    steps = 20_000
    means = noise(steps, mean=mean, std=0.1)
    count, m2 = jnp.full([steps, 1], 4.0), jnp.full([steps, 1], 12.0)

    def step(state, batch):
        state = update_state(state, batch, momentum=momentum)
        return state, state

    start = BatchNormState(jnp.full([1], mean), jnp.full([1], 3.0), jnp.int32(0))
    _, found = jax.jit(lambda start, batches: jax.lax.scan(step, start, batches))(
        start, Moments(count, jnp.asarray(means[:, None]), m2)
    )
    expected, value = [], mean
    for batch in means.astype("float64"):
        value = momentum * value + (1 - momentum) * batch
        expected.append(value)
    last_digit = np.spacing(np.float32(mean))
    # Each of the last 1 / (1 - momentum) sums is rounded once, at random.
    bound = 2 * last_digit * np.sqrt(1 / (1 - momentum))
    assert np.max(np.abs(np.asarray(found.mean[:, 0], "float64") - expected)) <= bound
    assert np.all(found.var == 3.0)


def test_an_overflow_is_not_made_nan():
    state = BatchNormState(jnp.array([jnp.inf]), jnp.array([jnp.inf]), jnp.int32(0))
    assert_same(update(state, Moments(*jnp.array([[4.0], [2.0], [8.0]])))[:2], state[:2])


def test_a_momentum_of_0_leaves_nothing_of_the_old_value():
    state = BatchNormState(jnp.array([1e30]), jnp.array([1e30]), jnp.int32(0))
    found = update(state, Moments(*jnp.array([[4.0], [2.0], [8.0]])), momentum=0.0)
    assert_same(found[:2], (jnp.array([2.0]), jnp.array([2.0])))


def test_frozen_statistics_survive_a_bad_batch():
    bad = Moments(*jnp.array([[4.0], [jnp.nan], [jnp.inf]]))
    state = init_state(1)
    assert_same(update(state, bad, momentum=1.0)[:2], state[:2])
