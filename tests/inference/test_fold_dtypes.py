"""In which dtypes kernels and biases are folded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.inference.nets_fold import folded, norm, norm_variables, numbers
from tests.tolerances import assert_close


def test_complex_numbers():
    v = {"kernel": numbers(4, 5) + 1j * numbers(4, 5, seed=2), "a": (numbers(5) + 1j).astype("complex64")}

    def f(v, x):
        return ((x.astype("complex64") @ v["kernel"]) * v["a"][None] + v["a"][None]).real

    folded(f, v, numbers(3, 4), into=1)


def test_complex_factors_of_a_real_product_stay():
    v = {"kernel": numbers(4, 5), "a": (numbers(5) + 1j).astype("complex64")}

    def f(v, x):
        return ((x @ v["kernel"]).astype("complex64") * v["a"][None]).imag

    folded(f, v, numbers(3, 4), into=0, kept=1)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 5e-2), ("float16", 1e-2)])
def test_half_precision_is_folded_in_single_and_rounded_once(dtype, bound):
    v = {"kernel": numbers(4, 5), "bias": numbers(5, seed=4), "norm": norm_variables(5)}

    def wide(v, x):
        y = x.astype(dtype) @ v["kernel"].astype(dtype) + v["bias"].astype(dtype)[None]
        return norm(v["norm"], y.astype("float32"))

    function, weights, report = folded(lambda v, x: wide(v, x).astype(dtype), v, numbers(3, 4), into=1)
    assert report.bound == bound
    multiplier = v["norm"]["scale"] / np.sqrt(v["norm"]["var"] + np.float32(1e-5))
    shift = v["norm"]["bias"] + multiplier * (
        jnp.asarray(v["bias"]).astype(dtype).astype("float32") - v["norm"]["mean"]
    )
    assert_close(weights["kernel"], jnp.asarray(v["kernel"] * multiplier[None]).astype(dtype), tolerance=0)
    assert_close(weights["bias"], shift.astype(dtype))
    assert function(weights, numbers(3, 4)).dtype == dtype

    # What is returned in single precision keeps a bias of single precision.
    weights = folded(wide, v, numbers(3, 4), into=1)[1]
    assert weights["bias"].dtype == "float32"
    assert_close(weights["bias"], shift, 1e-6)


def test_a_norm_of_wide_numbers_does_not_go_into_a_narrow_layer():
    v = {"kernel": numbers(4, 5).astype("bfloat16"), "norm": norm_variables(4)}

    def f(v, x):
        return norm(v["norm"], x).astype("bfloat16") @ v["kernel"]

    _, _, report = folded(f, v, numbers(3, 4), into=0, kept=1)
    assert report.norms[0].kept.endswith("which takes bfloat16")


@pytest.mark.slow
def test_rounding_on_the_way_widens_the_bound():
    v = {"a": numbers(40, 50), "norm": norm_variables(50), "b": numbers(50, 5, seed=2)}

    def f(v, x):
        y = jax.nn.relu(norm(v["norm"], x @ v["a"]).astype("bfloat16"))
        return y.astype("float32") @ v["b"]

    _, _, report = folded(f, v, numbers(30, 40), into=1)
    assert report.bound == 5e-2


@pytest.mark.slow
def test_double_precision():
    with jax.enable_x64(True):
        v = {"kernel": numbers(4, 5, dtype=float), "norm": norm_variables(5, dtype=float)}
        x = numbers(3, 4, dtype=float)

        def f(v, x):
            return norm(v["norm"], x @ v["kernel"])

        function, weights, report = folded(f, v, x, into=1)
        assert report.error < 1e-14
        assert {w.dtype for w in weights.values()} == {np.dtype("float64")}
        assert_close(function(weights, x), f(v, x), tolerance=1e-14)
