"""Which axes hold the features: one or several, counted from either end, in any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import BatchNormParams, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

norm = jax.jit(batch_norm, static_argnames=("train", "axis"))


def test_a_negative_axis_counts_from_the_end():
    x = noise(4, 3, 5)
    for axis in (1, -2):
        y, state = batch_norm(*init_batch_norm(3), x, True, axis=axis)
        np.testing.assert_allclose(y, reference.batch_norm(x, axis=1), atol=5e-6)
        assert state.mean.shape == (3,)


def test_axes_keep_their_order_and_are_neither_merged_nor_out_of_range():
    x = noise(5, 2, 3)
    params, state = init_batch_norm((3, 2))
    state = batch_norm(params, state, x, True, axis=(2, 1), momentum=0.0)[1]
    np.testing.assert_allclose(state.mean, x.mean(0).T, atol=1e-6)
    with pytest.raises(ValueError, match="must not name an axis twice"):
        batch_norm(*init_batch_norm(3), x, True, axis=(2, -1))
    with pytest.raises(ValueError, match=r"must lie in \[-3, 3\)"):
        batch_norm(*init_batch_norm(3), x, True, axis=3)


def test_a_wrong_number_of_features_is_never_broadcast():
    params, state = init_batch_norm(5, use_scale=False, use_bias=False)
    with pytest.raises(ValueError, match=r"`state.mean` must have the shape \(1,\)"):
        batch_norm(params, state, noise(4, 1), True)


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


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 2, 3), -1), ((5, 2, 3), 1), ((5, 3, 3, 2), -1), ((5, 3, 3, 2), 1)], ids=str
)
def test_three_passes_are_standardised_and_without_memory_evaluation_is_that_of_training(shape, axis):
    y = x = noise(*shape, mean=5, std=10)
    params, state = init_batch_norm(shape[axis], mean_init=initializers.ones, var_init=initializers.zeros)
    passes = [x]
    for _ in range(3):
        y, state = norm(params, state, y, True, axis=axis, momentum=0.0)
        passes.append(reference.batch_norm(passes[-1], axis=axis))
    last = reference.moments(passes[2], axis)
    assert_close(y, passes[3], TOLERANCE["float32"])
    assert_close((state.mean, state.var), (last.mean, reference.variance(last)), TOLERANCE["float32"])
    state = norm(params, state, x, True, axis=axis, momentum=0.0)[1]
    assert_close(norm(params, state, x, False, axis=axis)[0], passes[1], TOLERANCE["float32"])
