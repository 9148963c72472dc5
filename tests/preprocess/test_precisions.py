"""Half, single and double precision, real and complex: what goes in comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.preprocess import fit_center, inverse_transform, transform
from tests.preprocess.fits import FITS, FITTED, SCALINGS, few_fits, table
from tests.tolerances import TOLERANCE, assert_close, assert_same


@pytest.mark.slow
@few_fits
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_goes_in_and_out(fit, dtype):
    """Statistics and arithmetic are in float32; only the results are rounded."""
    x = jnp.asarray(table(offset=10.0)).astype(dtype)
    t, wide = fit(x), x.astype("float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(t)} == {jnp.dtype("float32")}
    assert_same(t, fit(wide))
    y = transform(t, x)
    back = inverse_transform(t, y)
    assert (y.dtype, back.dtype) == (dtype, dtype)
    assert_same(y, transform(t, wide).astype(dtype))
    assert_same(back, inverse_transform(t, y.astype("float32")).astype(dtype))


@pytest.mark.parametrize("name", ["center", "standardize"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_complex_data(name, offset):
    x = table(offset=offset, dtype="complex64")
    t = SCALINGS[name](x)
    y = np.asarray(transform(t, x)).astype(complex)
    assert transform(t, x).dtype == "complex64"
    deviations = np.asarray(x).astype(complex)
    deviations = deviations - deviations.mean(0)
    spread = 1.0 if name == "center" else np.sqrt(np.mean(np.abs(deviations) ** 2, 0))
    assert_close(y, deviations / spread, TOLERANCE["complex64"])
    assert_close(inverse_transform(t, transform(t, x)), x, 1e-6)


@pytest.mark.parametrize("name", ["standardize", "whiten-zca"])
def test_what_was_fitted_to_real_data_applies_to_complex_data(name):
    x = table(offset=3.0)
    t = FITS[name](x)
    y = transform(t, x.astype("complex64"))
    assert y.dtype == "complex64"
    assert_close(y.real, transform(t, x), FITTED)
    assert_close(inverse_transform(t, y).real, x, FITTED)


def test_what_was_fitted_to_complex_data_does_not_apply_to_real_data():
    """The imaginary part of the result would be lost without a word."""
    t = fit_center(table(dtype="complex64"))
    with pytest.raises(TypeError, match="`x` must be complex"):
        transform(t, table())
    with pytest.raises(TypeError, match="`y` must be complex"):
        inverse_transform(t, table())


@pytest.mark.slow
@few_fits
def test_double_precision(fit):
    with jax.enable_x64(True):
        x = table(offset=100.0, dtype="float64")
        t = fit(x)
        assert {leaf.dtype for leaf in jax.tree.leaves(t)} == {jnp.dtype("float64")}
        single = transform(t, x.astype("float32"))
        assert single.dtype == "float32"
        assert_close(single, transform(t, x), 1e-4)
    assert_close(transform(fit(table(offset=100.0)), table(offset=100.0)), single, 1e-4)
