"""Batches of nothing, and of one value: no NaN, no state that forgets."""

import functools

import jax
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)


def trained(x, **kwargs):
    return jax.jit(functools.partial(batch_norm, PARAMS, STATE, train=True, **kwargs))(x)


@pytest.mark.parametrize("x", [np.zeros((0, 3), "float32"), noise(4, 3)])
def test_nothing_to_normalise_leaves_the_state_alone(x):
    y, state = batch_norm(PARAMS, STATE, x, True, mask=np.zeros((len(x), 1), bool))
    assert not np.any(y)
    assert_same(state, STATE)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_an_empty_batch_leaves_the_state_alone(shape):
    y, state = trained(np.zeros(shape, "float32"))
    assert y.shape == shape
    assert_same(state, STATE)


def test_empty_members_leave_the_state_alone():
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, axis_name="i")
    y, state = jax.jit(jax.vmap(one, axis_name="i", out_axes=(0, None)))(np.zeros((4, 0, 3), "float32"))
    assert y.shape == (4, 0, 3)
    assert_same(state, STATE)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
@pytest.mark.parametrize("ddof", [0, 1])
def test_one_value_is_normalised_to_0(shape, ddof):
    y, state = trained(noise(*shape), axis=1, ddof=ddof)
    assert not np.any(y)
    expected = reference.running(*STATE, [reference.moments(noise(*shape), 1)], ddof=ddof)
    assert_close(state, expected, TOLERANCE["float32"])
