"""How far float32 may lie from float64: one number per dtype, and the exceptions by name."""

import jax
import numpy as np
from jax import tree

# Of values of order 1, by the dtype they are returned in.
TOLERANCE = {
    "float16": 1e-3,
    "bfloat16": 8e-3,
    "float32": 5e-6,
    "float64": 1e-12,
    "complex64": 5e-6,
    "complex128": 1e-12,
}
# Of gradients, relative to the largest: the backward pass multiplies three roundings.
GRADIENT = {"float32": 1e-4, "float64": 1e-10, "complex64": 1e-4, "complex128": 1e-10}
# An outlier is an output of up to 128, with fewer digits after the point. A GPU adds more numbers to the sum that its
# square is in, and each loses digits there.
OUTLIER = 4e-5 if jax.default_backend() == "cpu" else 1e-4
# Flax itself subtracts a mean rounded to float32 and sums in another order.
FLAX = 2e-5


def assert_close(actual, expected, tolerance=None):
    """Trees of arrays agree, relative to the largest expected value or 1; NaN equals nothing."""
    actual, expected = tree.leaves(actual), tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        bound = TOLERANCE.get(str(np.asarray(a).dtype), 0) if tolerance is None else tolerance
        a, e = (np.asarray(v).astype(np.result_type(np.asarray(v).real.dtype, complex)) for v in (a, e))
        assert a.shape == e.shape
        error, size = np.max(np.abs(a - e), initial=0), max(1, np.max(np.abs(e), initial=0))
        assert error <= bound * size, f"{error} > {bound} * {size}: {a} against {e}"


def assert_same(actual, expected):
    """Trees of arrays have equal shapes, dtypes and values, to the last bit; NaN equals NaN."""
    actual, expected = tree.leaves(actual), tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e, strict=True)
