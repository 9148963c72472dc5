"""The nnx layer and its data: dtypes, feature axes and masks."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn import initializers

from jaxbn.nnx import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close

pytestmark = pytest.mark.slow

X = noise(6, 4, 3, mean=3)
EXAMPLES = np.array([1, 0, 1, 1, 0, 1], bool)[:, None, None]


def make(features=3, **kwargs):
    return BatchNorm(features, rngs=nnx.Rngs(0), **kwargs)


def test_half_precision_output_costs_no_digit_of_the_statistics():
    """100.3 and 1.7 are no numbers in bfloat16."""
    layer = make(1, dtype=jnp.bfloat16, mean_init=initializers.constant(100.3), var_init=initializers.constant(1.7))
    y = layer(jnp.array([[100.0], [100.5], [101.0]]), use_running_average=True)
    assert y.dtype == "bfloat16"
    assert_close(y[:, 0], np.array([-0.2301, 0.1534, 0.5369]), 4e-3)
    layer(X[..., :1])
    assert_close(layer.mean[0], 0.99 * 100.3 + 0.01 * X[..., 0].mean(), 1e-6)


def test_a_hook_of_the_user_still_promotes():
    seen = []

    def promote(arrays, *, dtype):
        seen.append((len(arrays), dtype))
        return tuple(None if a is None else jnp.asarray(a, "bfloat16") for a in arrays)

    layer = make(dtype=jnp.bfloat16, promote_dtype=promote, use_bias=False)
    y = layer(X)
    assert (seen, y.dtype, layer.mean.dtype) == ([(5, jnp.bfloat16)], "bfloat16", "float32")
    assert layer(X, use_running_average=True).dtype == "bfloat16"


def test_statistics_of_a_hook_are_those_of_evaluation_and_never_kept():
    def promote(arrays, *, dtype):
        x, mean, var, scale, bias = arrays
        return x, mean + 3, var * 4, scale, bias

    layer = make(promote_dtype=promote)
    assert_close(layer(X, use_running_average=True), (X - 3) / np.sqrt(4 + 1e-5), TOLERANCE["float32"])
    assert_close(layer(X), reference.batch_norm(X), TOLERANCE["float32"])
    assert_close(layer.mean[...], 0.01 * reference.moments(X).mean, TOLERANCE["float32"])


@pytest.mark.parametrize("mask", [EXAMPLES.astype(int), EXAMPLES.astype(float)])
def test_masks_of_numbers(mask):
    assert_close(make()(X, mask=mask), reference.batch_norm(X, mask=EXAMPLES))


def test_integers_are_single_precision_as_in_flax():
    x = np.arange(12, dtype="uint8").reshape(4, 3)
    y = make()(x)
    assert y.dtype == "float32"
    assert_close(y, reference.batch_norm(x.astype("float32")), TOLERANCE["float32"])


def test_complex_statistics_keep_their_imaginary_part():
    x = jnp.asarray(X + 2j)
    layer = make(param_dtype=jnp.complex64)
    assert_close(layer(x), reference.batch_norm(x), TOLERANCE["complex64"])
    assert (layer.mean.dtype, layer.var.dtype) == ("complex64", "float32")
    assert_close(layer.mean[...], 0.01 * reference.moments(x).mean, TOLERANCE["complex64"])
    real = make()
    assert_close(real(x), reference.batch_norm(x), TOLERANCE["complex64"])
    assert_close(real.mean[...], 0.01 * reference.moments(x).mean, TOLERANCE["complex64"])
    assert make(param_dtype=jnp.complex64)(X).dtype == "complex64"


def test_several_feature_axes():
    layer = make((4, 3), axis=(2, 1))
    assert layer.mean.shape == (4, 3)
    assert_close(layer(X), reference.batch_norm(X, axis=(1, 2)), TOLERANCE["float32"])


@pytest.mark.parametrize(("features", "axis"), [(1, -1), (4, -1), (3, 1), ((4, 3), -1)])
def test_a_wrong_number_of_features_is_never_broadcast(features, axis):
    layer = make(features, axis=axis, use_scale=False, use_bias=False)
    with pytest.raises(ValueError, match=r"`x` must have num_features=.*, got \([34],\) in the shape \(6, 4, 3\)"):
        layer(X)


def test_statistics_in_half_precision_from_flax_are_widened():
    layer = make()
    for statistic in (layer.mean, layer.var):
        statistic.set_value(statistic[...].astype("bfloat16"))
    assert_close(layer(X), reference.batch_norm(X), TOLERANCE["float32"])
    assert (layer.mean.dtype, layer.var.dtype) == ("float32", "float32")


def test_a_dtype_that_would_cut_off_digits_is_refused():
    with pytest.raises(TypeError, match="`dtype` must be a floating or complex dtype of at least 16 bits, got int32"):
        make(dtype=jnp.int32)(X)


@pytest.mark.parametrize("mask", [True, [True, False, True], np.array([1, 0, 1]), [[True]]])
def test_masks_of_fewer_dimensions(mask):
    expected = np.broadcast_to(np.asarray(mask, bool), X.shape)
    assert_close(make()(X, mask=mask), make()(X, mask=expected))


@pytest.mark.parametrize("length", [4, 6])
def test_a_mask_of_examples_without_their_other_axes_is_explained(length):
    words = rf"must have as many dimensions as `x` \(6, 4, 3\), got the shape \({length},\); .* \(6, 1, 1\)"
    with pytest.raises(ValueError, match=words):
        make()(X, mask=np.ones(length, bool))
