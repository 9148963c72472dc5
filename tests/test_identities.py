"""Identities of the theory, of the function and of both Flax layers, in both precisions."""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbn import BatchNormParams, batch_moments, batch_norm, init_state, merge_moments
from jaxbn import linen as ours_linen
from jaxbn import nnx as ours_nnx
from jaxbn.inference import recalibrate
from tests import reference
from tests.data import noise
from tests.tolerances import assert_close, assert_same


class Weights(NamedTuple):
    """Of `norm(x @ w + b)`."""

    w: jax.Array
    b: jax.Array
    scale: jax.Array
    bias: jax.Array


class Slopes(NamedTuple):
    """Of a loss, by what is normalised and by all weights; and the outputs."""

    z: jax.Array
    weights: Weights
    y: jax.Array


def function(z, scale, bias, epsilon):
    return batch_norm(BatchNormParams(scale, bias), init_state(3), z, True, epsilon=epsilon)[0]


def linen(z, scale, bias, epsilon):
    variables = {"params": {"scale": scale, "bias": bias}}
    return ours_linen.BatchNorm(epsilon=epsilon).apply(variables, z, False, mutable=["batch_stats"])[0]


def nnx_layer(z, scale, bias, epsilon):
    layer = ours_nnx.BatchNorm(3, epsilon=epsilon, rngs=nnx.Rngs(0))
    layer.scale, layer.bias = nnx.Param(scale), nnx.Param(bias)
    return layer(z, False)


every_norm = pytest.mark.parametrize("norm", [function, linen, nnx_layer])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def weights(dtype, *, spread=1.0):
    w, b, scale, bias = (noise(*shape, seed=s, dtype=dtype) for s, shape in enumerate([(5, 3), (3,), (3,), (3,)], 1))
    return Weights(*map(jnp.asarray, (spread * w, b, scale + 1, bias)))


@partial(jax.jit, static_argnums=0)
def slopes(norm, weights, x, linear, quadratic, epsilon):
    """Of `sum(linear * y + quadratic * y**2 / 2)`."""

    def loss(weights, shift):
        y = norm(x @ weights.w + weights.b[None] + shift, weights.scale, weights.bias, epsilon)
        return jnp.sum(linear * y + quadratic * jnp.square(y) / 2), y

    shift = jnp.zeros((len(x), 3), x.dtype)
    (_, y), (of_weights, of_z) = jax.value_and_grad(loss, (0, 1), has_aux=True)(weights, shift)
    return Slopes(of_z, of_weights, y)


def any_slopes(norm, dtype, weights, *, rows=32, epsilon=0.1):
    """Of a loss that differs from row to row, and the rows."""
    x, linear, quadratic = (noise(rows, n, seed=s, dtype=dtype) for s, n in enumerate((5, 3, 3), 5))
    return slopes(norm, weights, x, linear, quadratic, epsilon), x


@every_norm
def test_an_affine_change_of_what_comes_in_is_undone(norm, dtype):
    """At epsilon 0, up to the digits that the change itself loses."""
    of = weights(dtype)
    _, x = any_slopes(norm, dtype, of)
    z = np.asarray(x, "float64") @ np.asarray(of.w, "float64")
    expected = reference.batch_norm(z, of.scale, of.bias, epsilon=0.0)
    for a, b in [(1e-3, 0.0), (1.0, -100.0), (1e3, 7.0)]:
        changed = of._replace(w=a * of.w, b=jnp.full_like(of.b, b))
        got, _ = any_slopes(norm, dtype, changed, epsilon=0.0)
        assert_close(got.y, expected, jnp.finfo(dtype).eps * (10 + 2 * abs(b / a)))


@every_norm
def test_a_gradient_sums_to_0_and_so_a_bias_before_gets_none(norm, dtype):
    (dz, dweights, _), _ = any_slopes(norm, dtype, weights(dtype))
    bound = 100 * jnp.finfo(dtype).eps
    assert np.max(np.abs(dz.sum(0))) <= bound
    assert np.max(np.abs(dweights.b)) <= bound
    assert np.min(np.abs(dweights.bias)) > 0.1
    assert np.min(np.max(np.abs(dz), 0)) > 0.1


@every_norm
def test_the_weights_before_it_are_orthogonal_to_their_gradient_but_for_epsilon(norm, dtype):
    of = weights(dtype)
    (_, d, _), x = any_slopes(norm, dtype, of)
    var = np.var(np.asarray(x, "float64") @ np.asarray(of.w, "float64"), 0)
    scale, dscale = (np.asarray(part, "float64") for part in (of.scale, d.scale))
    expected = 0.1 / (var + 0.1) * scale * dscale
    np.testing.assert_allclose(jnp.sum(of.w * d.w, 0), expected, rtol=1e-4 if dtype == "float32" else 1e-9)


@every_norm
@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 0.1])
def test_it_is_blind_to_a_loss_that_is_the_same_for_all_rows(norm, dtype, epsilon):
    """Zhou et al., AAAI 2024: linear and quadratic terms of normalised values; epsilon alone lets something through."""
    of = weights(dtype)._replace(scale=jnp.ones(3, dtype), bias=jnp.zeros(3, dtype))
    _, x = any_slopes(norm, dtype, of)
    linear, quadratic = (jnp.broadcast_to(noise(3, seed=s, dtype=dtype), (32, 3)) for s in (8, 9))
    got = slopes(norm, of, x, linear, quadratic, epsilon)
    z = np.asarray(x, "float64") @ np.asarray(of.w, "float64")
    # What would come through without the two terms of the backward pass that cancel it.
    passed = np.asarray(quadratic, "float64") * reference.batch_norm(z, epsilon=epsilon) / np.sqrt(z.var(0) + epsilon)
    expected, size = passed * epsilon / (z.var(0) + epsilon), np.max(np.abs(passed))
    assert_close(got.z / size, expected / size, 1e-6 if dtype == "float32" else 1e-14)


@every_norm
def test_two_values_become_plus_and_minus_1_without_a_gradient(norm, dtype):
    of = weights(dtype)._replace(scale=jnp.ones(3, dtype), bias=jnp.zeros(3, dtype))
    got, x = any_slopes(norm, dtype, of, rows=2, epsilon=0.0)
    bound = 50 * jnp.finfo(dtype).eps
    assert_close(got.y, np.sign(np.asarray((x - x[::-1]) @ of.w)), bound)
    assert np.max(np.abs(got.z)) <= bound


class Descent(NamedTuple):
    """What was seen at each step."""

    loss: jax.Array
    squared_norm: jax.Array
    squared_slope: jax.Array


@partial(jax.jit, static_argnums=0)
def descend(norm, weights, rate, epsilon):
    """500 steps of plain gradient descent, with a rate of its own for what comes before the norm."""
    x, targets = noise(32, 5, dtype=weights.w.dtype), noise(32, 3, dtype=weights.w.dtype, seed=1)

    def loss(weights):
        y = norm(x @ weights.w + weights.b[None], weights.scale, weights.bias, epsilon)
        return jnp.mean(jnp.square(jnp.tanh(y) - targets))

    def step(weights, _):
        value, slope = jax.value_and_grad(loss)(weights)
        seen = Descent(value, *(jnp.sum(jnp.square(part.w), 0) for part in (weights, slope)))
        new = jax.tree.map(lambda old, by: old - 0.1 * by, weights, slope)
        return new._replace(w=weights.w - rate * slope.w, b=weights.b - rate * slope.b), seen

    return jax.lax.scan(step, weights, length=500)[1]


@every_norm
def test_the_squared_norm_of_the_weights_grows_by_the_squared_steps(norm, dtype):
    """Without weight decay and at epsilon 0, and so it never falls; relative to what it has grown by."""
    rate = 0.3
    _, squared_norm, squared_slope = map(partial(np.asarray, dtype="float64"), descend(norm, weights(dtype), rate, 0.0))
    grown = squared_norm - squared_norm[0]
    expected = np.concatenate([np.zeros((1, 3)), rate**2 * np.cumsum(squared_slope[:-1], 0)])
    assert np.min(grown[-1]) > 0.01
    assert_close(grown / grown[-1], expected / grown[-1], 1e-3 if dtype == "float32" else 1e-11)
    assert np.min(np.diff(squared_norm, axis=0)) >= (-1e-6 if dtype == "float32" else 0)


@every_norm
def test_larger_weights_learn_the_same_at_a_rate_and_an_epsilon_to_suit_them(norm, dtype):
    """To the last bit where the factor is a power of 2: epsilon is added to the variance, and to nothing else."""
    c, start = 8.0, weights(dtype, spread=0.1)
    plain = descend(norm, start, 0.01, 1e-3)
    larger = descend(norm, start._replace(w=c * start.w, b=c * start.b), c**2 * 0.01, c**2 * 1e-3)
    assert_same(larger.loss, plain.loss)
    assert_same(larger.squared_norm, c**2 * plain.squared_norm)
    assert plain.loss[-1] < 0.9 * plain.loss[0]
    assert np.max(np.abs(descend(norm, start, 0.01, 1e-2).loss - plain.loss)) > 1e-3


def test_the_moments_of_unequal_batches_are_those_of_the_whole(dtype):
    """Recalibrated and merged alike; the batches have other means."""
    x, sizes = noise(48, 3, seed=9, dtype=dtype), [3, 17, 28]
    x[:3] += 5
    batches = np.split(x, np.cumsum(sizes)[:-1])
    whole = np.mean(x, 0, dtype="float64"), np.var(x, 0, dtype="float64")
    merged = reduce(merge_moments, map(batch_moments, batches))
    fresh = {"norm": init_state(3, dtype=dtype)}

    def apply(variables, x):
        return batch_norm(BatchNormParams(None, None), variables["norm"], x, False)[0]

    recalibrated = recalibrate(apply, fresh, batches)[0]["norm"]
    for got in ((merged.mean, merged.m2 / merged.count), (recalibrated.mean, recalibrated.var)):
        for found, expected in zip(got, whole, strict=True):
            assert_close(found, expected, 10 * jnp.finfo(dtype).eps)


def test_what_is_masked_is_not_there(dtype):
    x, kept = noise(32, 3, seed=9, dtype=dtype), np.arange(32) % 3 > 0
    params, state = BatchNormParams(None, None), init_state(3, dtype=dtype)
    y, masked = batch_norm(params, state, np.where(kept[:, None], x, np.nan), True, mask=kept[:, None])
    expected, filtered = batch_norm(params, state, x[kept], True)
    assert_close(y[kept], expected, 10 * jnp.finfo(dtype).eps)
    for got, want in zip(masked, filtered, strict=True):
        assert_close(got, want, 10 * jnp.finfo(dtype).eps)
