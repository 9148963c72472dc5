"""The derivative of `batch_norm` is the closed form, at every order and nesting, and never sees what is masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxbn import BatchNormParams, BatchNormState, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.strategies import batches
from tests.tolerances import GRADIENT, assert_close, assert_same


def parameters(features=(3,), dtype="float32"):
    return BatchNormParams(*(noise(*features, mean=1.0, dtype=dtype, seed=s) for s in (1, 2)))


def fresh(features=(3,), dtype="float32"):
    return init_batch_norm(features, dtype=dtype)[1]


def gradients(params, x, dy, **kwargs):
    """Of `sum(dy * y).real` by the data and the parameters."""

    def loss(x, params):
        y, _ = batch_norm(params, fresh(params.scale.shape, params.scale.dtype), x, True, **kwargs)
        return jnp.sum(dy * y).real

    dx, dparams = jax.jit(jax.grad(loss, (0, 1)))(x, params)
    return dx, dparams.scale, dparams.bias


def assert_relative(got, expected, bound):
    for g, e in zip(got, expected, strict=True):
        largest = np.max(np.abs(e))
        assert_close(g / largest, e / largest, bound)


@pytest.mark.slow
@given(st.data())
def test_gradient(data):
    dtype = data.draw(st.sampled_from(["float32", "float32", "complex64"]))
    x, axis, mask = batch = data.draw(batches(dtype, offsets=[0.0, 1.0, 1e4]))
    params, dy = parameters(batch.features, dtype), noise(*x.shape, dtype=dtype, seed=5)
    got = gradients(params, x, dy, axis=axis, mask=mask)
    expected = reference.gradient(x, dy, params.scale, axis, mask=mask)
    assert all(np.all(np.isfinite(g)) for g in got)
    # A gradient that all but cancels is judged by the terms that cancel: rows of one or two values, constant channels.
    dx_size = np.max(np.abs(params.scale), initial=0) / np.sqrt(1e-5)
    spread = np.sqrt(reference.variance(reference.moments(x, axis, mask)))
    flat = np.any(spread < 1e-3) or np.any(reference.moments(x, axis, mask).count < 4)
    assert_close(got[0], expected[0], GRADIENT[dtype] * (dx_size if flat else 1))
    assert_close(got[1:], expected[1:], GRADIENT[dtype])


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_gradient_far_from_zero(offset):
    x, dy = noise(64, 3, mean=offset), noise(64, 3, seed=5)
    params = parameters()
    assert_relative(gradients(params, x, dy), reference.gradient(x, dy, params.scale), GRADIENT["float32"])


def test_the_momentum_does_not_scale_the_gradient():
    x, dy, (params, state) = noise(6, 3), noise(6, 3, seed=1), init_batch_norm(3)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * batch_norm(params, state, x, True, momentum=0.999)[0])))(x)
    assert_close(dx, reference.gradient(x, dy, 1.0)[0], GRADIENT["float32"])


@pytest.mark.parametrize("poison", [np.nan, np.inf, 3e38])
def test_gradient_behind_the_mask(poison):
    mask, params, dy = np.array([1, 0, 1, 1, 0], bool)[:, None], parameters(), noise(5, 3, seed=5)
    clean = noise(5, 3)
    got = gradients(params, jnp.where(mask, clean, poison), dy, mask=mask)
    assert_same(got, gradients(params, clean, dy, mask=mask))
    assert_close(got[0][mask[:, 0]], reference.gradient(clean[mask[:, 0]], dy[mask[:, 0]], params.scale)[0], 1e-5)
    assert not np.any(got[0][~mask[:, 0]])


@pytest.mark.slow
@pytest.mark.parametrize(("train", "masked"), [(True, False), (True, True), (False, True)])
def test_derivatives_of_both_modes_to_second_order(train, masked):
    state = BatchNormState(noise(3), jnp.ones(3), jnp.asarray(0, jnp.int32))
    mask = np.array([1, 0, 1, 1, 0, 1], bool)[:, None] if masked else None

    def y(params, x):
        return jnp.sin(batch_norm(params, state, x, train, mask=mask)[0])

    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda v: v.astype("float64"), (parameters(), noise(6, 3)))
        check_grads(jax.jit(y), arguments, order=2, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_all_nestings_of_the_hessian_agree():
    x, (params, state) = noise(4, 2), init_batch_norm(2)
    dy = noise(4, 2, seed=5)

    def loss(x):
        return jnp.sum(dy * jnp.square(batch_norm(params, state, x, True)[0]))

    forward, reverse = jax.jacfwd, jax.jacrev
    hessians = [jax.jit(outer(inner(loss)))(x) for outer in (forward, reverse) for inner in (forward, reverse)]
    step = 1e-5

    def slope(i):
        shift = np.zeros(x.shape)
        shift[i] = step
        sides = []
        for at in (np.asarray(x) + shift, np.asarray(x) - shift):
            towards = 2 * np.asarray(dy) * reference.batch_norm(at)
            sides.append(reference.gradient(at, towards, 1.0)[0])
        return (sides[0] - sides[1]) / (2 * step)

    expected = np.stack([slope(i) for i in np.ndindex(x.shape)]).reshape(4, 2, 4, 2)
    for hessian in hessians:
        assert_close(hessian, expected, GRADIENT["float32"])


@pytest.mark.parametrize("transform", ["checkpoint", "scan", "vmap"])
def test_gradient_inside_other_transformations(transform):
    x, dy, params = noise(2, 5, 3), noise(2, 5, 3, seed=5), parameters()
    expected = np.stack([reference.gradient(a, b, params.scale)[0] for a, b in zip(x, dy, strict=True)])

    def part(x, dy):
        return jnp.sum(dy * batch_norm(params, fresh(), x, True)[0])

    def loss(x):
        if transform == "scan":
            return jax.lax.scan(lambda total, xs: (total + part(*xs), None), 0.0, (x, dy))[0]
        if transform == "vmap":
            return jnp.sum(jax.vmap(part)(x, dy))
        return sum(jax.checkpoint(part)(x[i], dy[i]) for i in range(2))

    assert_close(jax.jit(jax.grad(loss))(x), expected, GRADIENT["float32"])
