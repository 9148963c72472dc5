"""Batch renormalisation is algorithm 1 of its paper: between batch norm and evaluation, as far as its limits allow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxbn import BatchNormParams, BatchNormState, batch_norm, init_batch_norm
from jaxbn.variants import batch_renorm
from tests import reference
from tests.collectives import collectives
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

INF = float("inf")
SCALE, BIAS = np.float32([0.5, 1.5, -2.0]), np.float32([1.0, 0.0, -1.0])
MEAN, VAR = np.float32([1.0, -1.0, 0.5]), np.float32([1.0, 4.0, 0.25])
PARAMS = BatchNormParams(jnp.asarray(SCALE), jnp.asarray(BIAS))
STATE = BatchNormState(jnp.asarray(MEAN), jnp.asarray(VAR), jnp.asarray(3, jnp.int32))
MASK = (np.arange(8) % 3 > 0).reshape(-1, 1, 1)
masked_or_not = pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])


def renorm(x, r_max, d_max, params=PARAMS, state=STATE, *, train=True, **kwargs):
    norm = functools.partial(batch_renorm, params, state, train=train, **kwargs)
    return jax.jit(lambda x, r, d: norm(x, r_max=r, d_max=d))(x, r_max, d_max)


def data(mask=None):
    """A batch whose statistics lie on either side of the running ones; NaN where it is masked."""
    x = noise(8, 4, 3) * np.float32([3, 1, 0.6]) + np.float32([2, -4, 0.4])
    return x if mask is None else np.where(mask, x, np.float32(np.nan))


def expected(x, r_max, d_max, mean=MEAN, var=VAR, scale=SCALE, bias=BIAS, **kwargs):
    r, d = reference.corrections(x, mean, var, r_max, d_max, **kwargs)
    return reference.batch_renorm(x, r, d, scale, bias, **kwargs)


def gradients(norm, x, dy):
    def loss(x, params):
        y, state = norm(params, STATE, x, True)
        return jnp.sum(dy * y), (y, state)

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, PARAMS)


@masked_or_not
def test_with_limits_of_1_and_0_it_is_batch_norm(mask):
    x, dy = data(mask), noise(8, 4, 3, seed=1)
    ours = gradients(functools.partial(batch_renorm, r_max=1.0, d_max=0.0, mask=mask), x, dy)
    theirs = gradients(functools.partial(batch_norm, mask=mask), x, dy)
    assert_close(ours, theirs, 1e-6)


@masked_or_not
def test_without_limits_its_output_is_that_of_evaluation(mask):
    x = data(mask)
    y, state = renorm(x, INF, INF, mask=mask)
    assert_close(y, reference.normalize(x, MEAN, VAR, SCALE, BIAS, mask=mask), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=mask)]), TOLERANCE["float32"])


@pytest.mark.parametrize("averaging", ["ema", "warmup"])
def test_algorithm_1_step_by_step(averaging):
    state, (mean, var, count), sides = STATE, (MEAN, VAR, 3), set()
    for seed in range(5):
        x = noise(8, 4, 3, seed=seed) * np.float32([3, 1, 0.4]) + np.float32([2, -4, 0.4])
        y, state = renorm(x, 1.4, 0.6, state=state, averaging=averaging, momentum=0.8, ddof=1)
        r, d = reference.corrections(x, mean, var, 1.4, 0.6)
        sides |= {("r", float(v)) for v in r} | {("d", float(v)) for v in d}
        assert_close(y, reference.batch_renorm(x, r, d, SCALE, BIAS), 1e-5)
        mean, var, count = reference.running(mean, var, count, [reference.moments(x)], 0.8, averaging, 1)
        assert_close(state, (mean, var, count), TOLERANCE["float32"])
    limits = {("r", 1.4), ("r", 1 / 1.4), ("d", 0.6), ("d", -0.6)}
    assert limits < sides


def test_epsilon_lies_within_sigma():
    """Where the variances are far below it, both deviations are its root, and hardly anything is to be corrected."""
    x = noise(64, 3, std=1e-3)
    mean = x.mean(0)
    state = init_batch_norm(3)[1]._replace(mean=jnp.asarray(mean), var=jnp.full(3, 4e-6))
    y, _ = renorm(x, 3.0, 5.0, state=state, epsilon=1e-2)
    assert_close(y, expected(x, 3.0, 5.0, mean, 4e-6, epsilon=1e-2), TOLERANCE["float32"])
    assert_close(y, reference.batch_norm(x, SCALE, BIAS, epsilon=1e-2), 5e-5)


@masked_or_not
@pytest.mark.parametrize("limits", [(1.4, 0.6), (INF, INF)])
def test_no_gradient_flows_through_the_corrections(limits, mask):
    x, dy = data(mask), noise(8, 4, 3, seed=1)
    held = reference.corrections(x, MEAN, VAR, *limits, mask=mask)

    def loss(x, scale, bias):
        return np.sum(dy * reference.batch_renorm(x, *held, scale, bias, mask=mask))

    def difference(argument, step=1e-6):
        point, slopes = [np.float64(np.nan_to_num(x)), np.float64(SCALE), np.float64(BIAS)], []
        for i in np.ndindex(point[argument].shape):
            moved = [[v.copy() for v in point] for _ in range(2)]
            for sign, side in zip((1, -1), moved, strict=True):
                side[argument][i] += sign * step
            slopes.append((loss(*moved[0]) - loss(*moved[1])) / (2 * step))
        return np.reshape(slopes, point[argument].shape)

    norm = functools.partial(batch_renorm, r_max=limits[0], d_max=limits[1], mask=mask)
    (dx, dparams), _ = gradients(norm, x, dy)
    assert_close((dx, *dparams), [difference(i) for i in range(3)], GRADIENT["float32"])


def test_no_gradient_flows_to_the_state_nor_the_limits():
    def loss(state, limits):
        y, new = batch_renorm(PARAMS, state, data(), True, r_max=limits[0], d_max=limits[1])
        return jnp.sum(y**2) + jnp.sum(new.mean) + jnp.sum(new.var)

    of_state = jax.grad(lambda mean, var: loss(STATE._replace(mean=mean, var=var), (1.4, 0.6)), (0, 1))
    of_limits = jax.grad(lambda limits: loss(STATE, limits))
    found = jax.jit(lambda: (of_state(STATE.mean, STATE.var), of_limits((1.4, 0.6))))()
    assert not any(np.any(part) for part in jax.tree.leaves(found))


def test_a_schedule_of_the_limits_compiles_once():
    r_max, d_max = optax.linear_schedule(1.0, 3.0, 20), optax.linear_schedule(0.0, 5.0, 20)
    traces = []

    @jax.jit
    def step(state, number, x):
        traces.append(number)
        return batch_renorm(PARAMS, state, x, True, r_max=r_max(number), d_max=d_max(number), momentum=0.9)

    state, (mean, var, count) = STATE, (MEAN, VAR, 3)
    for number in range(20):
        x = noise(8, 3, mean=2, std=2, seed=number)
        y, state = step(state, number, x)
        assert_close(y, expected(x, 1 + number / 10, number / 4, mean, var), 1e-5)
        mean, var, count = reference.running(mean, var, count, [reference.moments(x)], 0.9)
    assert len(traces) == 1


@pytest.mark.parametrize("weights", [MASK, np.float32([1, 0, 2, 0.5, 0, 1, 3, 1]).reshape(-1, 1, 1)])
def test_masked_values_are_not_there(weights):
    x = data(weights > 0)
    y, state = renorm(x, 1.4, 0.6, mask=weights)
    assert_close(y, expected(x, 1.4, 0.6, mask=weights), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=weights)]), TOLERANCE["float32"])


@pytest.mark.parametrize("x", [np.zeros((0, 3), "float32"), np.full((4, 3), np.nan, "float32")])
def test_a_batch_of_nothing_leaves_the_state_alone(x):
    y, state = renorm(x, 1.4, 0.6, mask=np.zeros((len(x), 1), bool))
    assert_same(y, np.zeros(x.shape, "float32"))
    assert_same(state, STATE)


@pytest.mark.parametrize("axis", [(2, 1), (1, 2)])
def test_several_feature_axes(axis):
    x, features = noise(5, 2, 3, mean=2, std=2), [(5, 2, 3)[a] for a in axis]
    mean, var, scale, bias = (noise(*features, mean=3, std=0.5, seed=s) for s in range(4))
    state = BatchNormState(jnp.asarray(mean), jnp.asarray(var), jnp.int32(0))
    y, _ = renorm(x, 1.2, 0.5, BatchNormParams(scale, bias), state, axis=axis)
    assert_close(y, expected(x, 1.2, 0.5, mean, var, scale, bias, axis=axis), TOLERANCE["float32"])


@pytest.mark.parametrize("missing", ["scale", "bias"])
def test_parameters_may_be_missing(missing):
    kept = {"scale": SCALE, "bias": BIAS} | {missing: {"scale": 1.0, "bias": 0.0}[missing]}
    y, _ = renorm(data(), 1.4, 0.6, PARAMS._replace(**{missing: None}))
    assert_close(y, expected(data(), 1.4, 0.6, **kept), TOLERANCE["float32"])


@masked_or_not
def test_members_of_a_mapped_axis_are_one_batch(mask):
    x = data(mask)
    shares = np.ones((8, 1, 1), bool) if mask is None else mask
    one = functools.partial(batch_renorm, PARAMS, STATE, train=True, r_max=1.4, d_max=0.6, axis_name="i")
    call = jax.vmap(lambda x, mask: one(x, mask=mask), axis_name="i", out_axes=(0, None))
    y, state = jax.jit(call)(x.reshape(4, 2, 4, 3), shares.reshape(4, 2, 1, 1))
    assert_close(y.reshape(x.shape), expected(x, 1.4, 0.6, mask=mask), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, mask=mask)]), TOLERANCE["float32"])


@pytest.mark.several_devices
def test_devices_share_a_batch_by_one_collective():
    one = functools.partial(batch_renorm, PARAMS, STATE, train=True, r_max=1.4, d_max=0.6, axis_name="a")
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    run = jax.shard_map(one, mesh=mesh, in_specs=P("a"), out_specs=(P("a"), P()))
    program = jax.jit(run).lower(data()).compile()
    assert collectives(program) == 1
    assert_close(program(data())[0], expected(data(), 1.4, 0.6), TOLERANCE["float32"])


@pytest.mark.several_devices
@pytest.mark.parametrize("flag", [True, "traced"])
def test_features_may_be_sharded(flag):
    x = noise(8, 2, 4, mean=2, std=2)
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        split, train = jax.device_put(x, P("a", None, "b")), jnp.asarray(True) if flag == "traced" else flag
        norm = functools.partial(batch_renorm, *init_batch_norm(4), r_max=1.4, d_max=0.6)
        y, _ = jax.jit(lambda x: norm(x, train))(split)
    assert y.sharding.spec == P("a", None, "b")
    assert_close(y, expected(x, 1.4, 0.6, 0.0, 1.0, 1.0, 0.0), TOLERANCE["float32"])


@masked_or_not
def test_a_traced_flag_is_a_static_one(mask):
    x, dy = data(mask), noise(8, 4, 3, seed=1)

    def slope(x, train):
        def loss(x, params):
            y, state = batch_renorm(params, STATE, x, train, r_max=1.4, d_max=0.6, mask=mask)
            return jnp.sum(dy * y), state

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, PARAMS)

    traced, static = jax.jit(slope), jax.jit(slope, static_argnums=1)
    for train in (True, False):
        assert_close(traced(x, train), static(x, train), TOLERANCE["float32"])


def test_evaluation_is_that_of_batch_norm():
    got = batch_renorm(PARAMS, STATE, data(), False, r_max=1.4, d_max=0.6)
    assert_same(got, batch_norm(PARAMS, STATE, data(), False))


@pytest.mark.parametrize("limits", [(1.2, 0.4), (INF, INF)])
def test_complex_data(limits):
    """Of `d` the absolute value is limited, and its direction is kept."""
    params, state = init_batch_norm(3, dtype="complex64")
    state = state._replace(mean=jnp.asarray([1 + 1j, -1j, 0]).astype("complex64"), var=jnp.asarray([1.0, 4.0, 0.25]))
    x = noise(8, 4, 3, mean=1 - 1j, std=0.8, dtype="complex64")
    y, _ = renorm(x, *limits, params, state)
    assert y.dtype == "complex64"
    assert_close(y, expected(x, *limits, np.asarray(state.mean), state.var, 1.0, 0.0), TOLERANCE["complex64"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_loses_the_rounding_of_the_output_alone(dtype):
    x = data().astype(jnp.dtype(dtype))
    y, state = renorm(x, 1.4, 0.6)
    assert y.dtype == dtype
    assert state.mean.dtype == jnp.float32
    assert_close(y, expected(x, 1.4, 0.6), TOLERANCE[dtype])


@pytest.mark.parametrize("limits", [(1.0, 0.0), (3.0, 5.0), (INF, INF)])
def test_squares_that_overflow_make_no_nan(limits):
    """As in `batch_norm`, also where the running variance is infinite by then."""
    params, state = init_batch_norm(3)
    x = noise(8, 3) * np.float32(1e20)
    for batch in (x, x, noise(8, 3)):
        y, state = renorm(batch, *limits, params, state)
        assert np.all(np.isfinite(y))
    if limits == (1.0, 0.0):
        assert_close(y, reference.batch_norm(noise(8, 3)), TOLERANCE["float32"])
