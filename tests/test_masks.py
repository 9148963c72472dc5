"""What a mask hides is neither read nor counted; weights are repetition; the output is 0 where nothing is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_moments, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close

PARAMS, STATE = init_batch_norm(3)


def trained(x, features=3, **kwargs):
    return jax.jit(functools.partial(batch_norm, *init_batch_norm(features), train=True, **kwargs))(x)


@pytest.mark.parametrize(("axis", "shape"), [(0, (4, 1, 5)), (1, (4, 1, 5)), (1, (1, 3, 5)), (2, (4, 3, 1))])
def test_masks_broadcast_along_any_axis(axis, shape):
    x, mask = noise(4, 3, 5), np.random.default_rng(1).random(shape) < 0.6
    y, state = trained(x, x.shape[axis], axis=axis, mask=mask)
    assert_close(y, reference.batch_norm(x, axis=axis, mask=mask), TOLERANCE["float32"])
    start = np.zeros(x.shape[axis])
    expected = reference.running(start, start + 1, 0, [reference.moments(x, axis, mask)])
    assert_close(state, expected, TOLERANCE["float32"])


def test_a_single_feature_may_be_masked():
    x, mask = noise(4, 1), np.array([[True], [True], [True], [False]])
    assert_close(trained(x, 1, mask=mask)[0][:3], reference.batch_norm(x[:3]), TOLERANCE["float32"])


def test_a_mask_of_steps_holds_for_all_that_a_step_has():
    x, mask = noise(1, 4, 3, 4, mean=5, std=10), np.array([1, 0, 1, 1], bool).reshape(1, 4, 1, 1)
    y, state = trained(x, 4, mask=mask, momentum=0.0)
    kept = x[:, mask.ravel()]
    assert_close(y[:, mask.ravel()], reference.batch_norm(kept), TOLERANCE["float32"])
    assert_close(state, reference.running(np.zeros(4), np.ones(4), 0, [reference.moments(kept)], 0.0), 5e-6)


@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
def test_masks_may_be_numbers(dtype):
    mask = np.array([[1], [1], [0]], dtype)
    y = batch_norm(PARAMS, STATE, noise(3, 3), True, mask=mask)[0]
    np.testing.assert_allclose(y[:2], reference.batch_norm(noise(3, 3)[:2]), atol=5e-6)


def test_a_mask_of_examples_needs_their_other_axes():
    with pytest.raises(ValueError, match=r"`mask` must have as many dimensions as `x` \(3, 3\)"):
        batch_norm(PARAMS, STATE, noise(3, 3), True, mask=np.ones(3, bool))


@pytest.mark.parametrize("train", [True, False])
def test_masked_outputs_are_0_in_training_and_evaluation(train):
    params = PARAMS._replace(bias=jnp.ones(3))
    y, _ = batch_norm(params, STATE, noise(4, 3), train, mask=jnp.asarray([[0.0], [0.5], [2.0], [1.0]]))
    assert not np.any(y[0])
    assert np.all(y[1:])


@pytest.mark.parametrize("weight", [-1.0, -1e30])
def test_a_negative_weight_counts_as_0(weight):
    x = noise(12, 3, mean=3)
    mask = np.where(np.arange(12) % 3 == 0, np.float32(weight), 1)[:, None]
    y, state = trained(x, mask=mask)
    assert_close(y, reference.batch_norm(x, mask=mask > 0), TOLERANCE["float32"])
    moments = reference.moments(x, mask=mask > 0)
    assert_close(state, reference.running(*STATE, [moments]), TOLERANCE["float32"])
    assert_close(batch_moments(x, mask=mask), moments, TOLERANCE["float32"])


@pytest.mark.parametrize("padding", [0.0, 0.1, 1.0, np.nan])
@pytest.mark.parametrize("members", [1, 2])
def test_padding_is_not_seen_by_one_member_or_by_two(members, padding):
    x = np.float32([[1, 5], [2, 5], [padding, padding], [padding, padding]])
    mask = np.array([1, 1, 0, 0], bool)[:, None]
    one = functools.partial(batch_norm, *init_batch_norm(2), train=True, momentum=0.0, axis_name="i")
    shards, masks = (np.broadcast_to(v, (members, 10 // members, *v.shape)) for v in (x, mask))
    y, state = jax.jit(jax.vmap(lambda x, mask: one(x, mask=mask), axis_name="i", out_axes=(0, None)))(shards, masks)
    assert_close((state.mean, state.var), (np.array([1.5, 5]), np.array([0.25, 0])), 0)
    expected = np.array([[-1, 0], [1, 0], [0, 0], [0, 0]]) * 0.5 / np.sqrt(0.25 + 1e-5)
    assert_close(y, np.broadcast_to(expected, shards.shape), TOLERANCE["float32"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_gradient_flows_to_weights(order):
    f = lambda x, w: (batch_norm(PARAMS, STATE, x, True, mask=w)[0] ** 3).sum()  # noqa: E731
    x, w = noise(8, 3, mean=2), np.arange(1.0, 9.0, dtype="float32")[:, None]
    assert not np.any(jax.jit(jax.grad(f, 1))(x, w))
    assert not np.any(jax.jit(jax.jacfwd(jax.grad(f, order[0]), order[1]))(x, w))
