"""Members of a `vmap` without a name are batches of their own, each with its own state, flag and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close

PARAMS, STATE = init_batch_norm(3)
AFFINE = BatchNormParams(jnp.asarray([0.5, 2.0, -1.0]), jnp.asarray([0.0, 1.0, 3.0]))


def test_every_member_has_a_state():
    x = noise(2, 4, 3, mean=5.0)
    _, states = jax.jit(jax.vmap(lambda x: batch_norm(PARAMS, STATE, x, True)))(x)
    for member, batch in enumerate(x):
        expected = reference.running(*STATE, [reference.moments(batch)])
        assert_close([part[member] for part in states], expected, TOLERANCE["float32"])


def test_every_member_has_a_flag():
    x = noise(4, 3, mean=5.0)
    y, state = jax.jit(jax.vmap(lambda train: batch_norm(PARAMS, STATE, x, train)))(np.array([True, False]))
    assert_close(y, np.stack([reference.batch_norm(x), reference.normalize(x, 0, 1)]), TOLERANCE["float32"])
    assert np.array_equal(state.count, [1, 0])
    assert np.array_equal(state.mean[1], STATE.mean)


def test_every_member_has_a_gradient_and_remembers_its_own_batches():
    """Those of the first are not overwritten by the others."""
    x, dy = noise(2, 2, 4, 3) + np.arange(2, dtype="float32").reshape(2, 1, 1, 1), noise(4, 3, seed=1)

    def loss(x, state):
        y, state = batch_norm(PARAMS, state, x, True)
        return jnp.sum(dy * y), state

    step = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))
    states = jax.tree.map(lambda part: jnp.stack([part, part]), STATE)
    for i in range(2):
        slopes, states = step(x[:, i], states)
    for member in range(2):
        assert_close(slopes[member], reference.gradient(x[member, 1], dy, 1.0)[0], 1e-5)
        expected = reference.running(*STATE, [reference.moments(batch) for batch in x[member]])
        assert_close([part[member] for part in states], expected, TOLERANCE["float32"])


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_members_are_virtual_batches(groups):
    """Two steps, so that what each of them remembers comes in too."""
    x = noise(10, 2, 2, 3, std=2) + np.arange(10, dtype="float32").reshape(10, 1, 1, 1)
    virtual = x.reshape(groups, -1, 2, 2, 3)
    step = jax.jit(jax.vmap(functools.partial(batch_norm, AFFINE, train=True, momentum=0.9)))
    states = jax.tree.map(lambda v: jnp.stack([v] * groups), STATE)
    for _ in range(2):
        y, states = step(states, virtual)
    by_formula = functools.partial(reference.batch_norm, scale=AFFINE.scale, bias=AFFINE.bias)
    assert_close(y, np.stack([by_formula(part) for part in virtual]), TOLERANCE["float32"])
    assert (groups == 1) == np.allclose(y.reshape(x.shape), by_formula(x), atol=1e-3)
    for member, part in enumerate(virtual):
        mean, var = np.float64(part).mean((0, 1, 2)), np.float64(part).var((0, 1, 2))
        closed = (0.19 * mean, 0.81 + 0.19 * var, 2)
        assert_close([v[member] for v in states], closed, TOLERANCE["float32"])
