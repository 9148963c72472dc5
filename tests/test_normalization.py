"""`batch_norm` and `normalize` against NumPy float64, in training and evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.nn import initializers

from jaxbn import BatchNormParams, BatchNormState, batch_norm, init_batch_norm, normalize
from tests import reference
from tests.data import noise
from tests.strategies import averagings, batches, dtypes, momenta
from tests.tolerances import TOLERANCE, assert_close, assert_same

norm = jax.jit(batch_norm, static_argnames=("axis", "averaging", "ddof"))
trained = jax.jit(functools.partial(batch_norm, train=True), static_argnames="axis")


def affine(features, dtype="float32"):
    """Parameters and a state that are neither 0 nor 1."""
    params = [noise(*features, mean=1.0, dtype=dtype, seed=s) for s in (1, 2)]
    state = [noise(*features, dtype=dtype, seed=3), jnp.square(noise(*features, seed=4)) + 0.1]
    return BatchNormParams(*params), BatchNormState(*state, jnp.asarray(4, jnp.int32))


def test_the_example_of_the_tutorial():
    y, state = batch_norm(*init_batch_norm(3), jnp.arange(15.0).reshape(5, 3), train=True)
    printed = np.float32([-1.4142132, -0.7071066, 0.0, 0.7071066, 1.4142132])
    assert_same(y, np.stack([printed] * 3, axis=1))
    assert_close(state, (np.array([0.06, 0.07, 0.08]), np.full(3, 0.99 + 0.18), 1), TOLERANCE["float32"])


@pytest.mark.slow
@given(st.data())
def test_training(data):
    dtype = data.draw(dtypes())
    x, axis, mask = batch = data.draw(batches(dtype))
    momentum, averaging, ddof = data.draw(momenta()), data.draw(averagings()), data.draw(st.sampled_from([0, 1]))
    params, state = affine(batch.features, "complex64" if dtype == "complex64" else "float32")
    y, new = norm(params, state, x, True, axis=axis, mask=mask, momentum=momentum, averaging=averaging, ddof=ddof)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert_close(y, reference.batch_norm(x, *params, axis, mask=mask))
    expected = reference.running(*state, [reference.moments(x, axis, mask)], momentum, averaging, ddof)
    assert_close(new, expected, TOLERANCE["float32"])


def test_training_normalises_with_the_batch_and_not_with_the_state():
    x = noise(64, 3, mean=5.0, std=3.0)
    np.testing.assert_allclose(batch_norm(*init_batch_norm(3), x, True)[0], reference.batch_norm(x), atol=5e-6)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.data())
def test_evaluation(data):
    dtype = data.draw(dtypes())
    x, axis, mask = batch = data.draw(batches(dtype, offsets=[0.0, 100.0]))
    params, state = affine(batch.features, "complex64" if dtype == "complex64" else "float32")
    expected = reference.normalize(x, state.mean, state.var, *params, axis, mask=mask)
    y, new = norm(params, state, x, False, axis=axis, mask=mask)
    assert_close(y, expected)
    assert_same(new, state)
    if mask is None:
        assert_close(jax.jit(normalize, static_argnames="axis")(params, x, *state[:2], axis=axis), expected)


def test_evaluation_takes_every_row_by_itself():
    params, state = affine((3,))
    state = norm(params, state, noise(10, 2, 2, 3, mean=4.0, std=2), True, momentum=0.5)[1]
    x = noise(13, 2, 2, 3, std=2, seed=1)
    whole = reference.normalize(x, state.mean, state.var, params.scale, params.bias)
    for rows in (slice(0, 13), slice(0, 1), slice(12, 13)):
        assert_close(norm(params, state, x[rows], False)[0], whole[rows], TOLERANCE["float32"])


@pytest.mark.slow
@settings(max_examples=12)  # two programs each
@given(st.data())
def test_vmap(data):
    x, axis, mask = batch = data.draw(batches(offsets=[0.0, 1e4]))
    params, state = affine(batch.features)
    members = jnp.stack([x, 2 * x + 1])
    each = lambda x: batch_norm(params, state, x, True, axis=axis, mask=mask)  # noqa: E731
    y, new = jax.jit(jax.vmap(each))(members)
    for i, member in enumerate(members):
        assert_close(y[i], reference.batch_norm(member, *params, axis, mask=mask))
        expected = reference.running(*state, [reference.moments(member, axis, mask)])
        assert_close([part[i] for part in new], expected, TOLERANCE["float32"])


def test_evaluation_far_from_0():
    x = noise(64, 3, mean=1e4)
    m = reference.moments(x)
    mean, var = np.float32(m.mean), np.float32(reference.variance(m))
    y = normalize(BatchNormParams(None, None), x, mean, var)
    assert_close(y, reference.normalize(x, mean, var), TOLERANCE["float32"])


@pytest.mark.parametrize("train", [False, True])
def test_a_traced_flag_is_a_python_flag(train):
    params, state = affine((3,))
    x = noise(6, 3)
    y, new = norm(params, state, x, train)
    assert_close(jax.jit(lambda x: batch_norm(params, state, x, train))(x), (y, new), 1e-6)
    assert_same(norm(params, state, x, np.bool_(train)), (y, new))


def test_one_flag_per_member():
    params, state = affine((3,))
    x, flags = noise(2, 6, 3), jnp.asarray([True, False])
    y, new = jax.jit(jax.vmap(lambda x, t: batch_norm(params, state, x, t)))(x, flags)
    assert_close(y[0], reference.batch_norm(x[0], *params))
    assert_close(y[1], reference.normalize(x[1], state.mean, state.var, *params))
    assert_close([p[0] for p in new], reference.running(*state, [reference.moments(x[0])]), TOLERANCE["float32"])
    assert_same([p[1] for p in new], state)


@pytest.mark.parametrize("use_scale", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_without_scale_or_bias(use_scale, use_bias):
    params, state = init_batch_norm(
        3, use_scale=use_scale, use_bias=use_bias, scale_init=initializers.constant(2.0), bias_init=initializers.ones
    )
    assert ((params.scale is not None), (params.bias is not None)) == (use_scale, use_bias)
    x = noise(6, 3)
    assert_close(trained(params, state, x)[0], reference.batch_norm(x, 1 + use_scale, float(use_bias)))


def test_initialisers():
    normal = initializers.normal(1.0)
    args = {"scale_init": normal, "bias_init": normal, "mean_init": normal, "var_init": initializers.constant(3.0)}
    params, state = init_batch_norm((2, 3), key=jax.random.key(0), dtype="complex64", **args)
    assert {p.shape for p in (*params, *state[:2])} == {(2, 3)}
    assert [p.dtype for p in (*params, *state)] == ["complex64"] * 3 + ["float32", "int32"]
    assert_same(state.var, jnp.full([2, 3], 3.0))
    drawn = [np.asarray(p).tobytes() for p in (params.scale, params.bias, state.mean)]
    assert len(set(drawn)) == 3
    params, state = init_batch_norm(3, dtype="bfloat16")
    assert [p.dtype for p in (*params, *state)] == ["bfloat16"] * 2 + ["float32"] * 2 + ["int32"]
    assert state.count == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4, -1e5, 1e30])
def test_a_constant_channel_gives_exactly_bias(value):
    params, state = affine((3,))
    for mask in (None, np.array([0.3, 0.7, 1, 1, 0.1], "float32")[:, None]):
        y, _ = trained(params, state, jnp.full([5, 3], value), mask=mask)
        assert_same(y, jnp.broadcast_to(params.bias, y.shape))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3)])
def test_one_value_gives_bias(shape):
    params, state = affine((3,))
    y, new = norm(params, state, noise(*shape, mean=1e3), True, ddof=1)
    assert_same(y, jnp.broadcast_to(params.bias, shape))
    assert_same(new.var, state.var)
    assert new.count == 5


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
def test_nothing_to_normalise(averaging, masked):
    params, state = affine((3,))
    x, mask = (jnp.full([4, 3], np.nan), np.zeros([4, 3], bool)) if masked else (jnp.zeros([0, 3]), None)

    def loss(params, x):
        y, new = batch_norm(params, state, x, True, mask=mask, averaging=averaging)
        return jnp.sum(y), (y, new)

    gradients, (y, new) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
    assert_same(new, state)
    assert_same((y, gradients), jax.tree.map(jnp.zeros_like, (y, gradients)))
