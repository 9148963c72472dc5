"""On one device sums are made otherwise, by a pair of linear primitives: the same laws, the same digits."""

import functools
import math
import re

import jax
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._exact import sum_of_squares
from jaxbn._sums import spread, total
from tests import reference
from tests.test_derivatives import test_all_nestings_of_the_hessian_agree as test_all_nestings_of_the_hessian_agree
from tests.test_derivatives import test_gradient as test_gradient
from tests.test_derivatives import test_gradient_behind_the_mask as test_gradient_behind_the_mask
from tests.test_numerics import test_gradients_far_from_0 as test_gradients_far_from_0
from tests.test_numerics import test_noise_at_any_distance_from_0 as test_noise_at_any_distance_from_0
from tests.test_numerics import test_whatever_the_first_value_is as test_whatever_the_first_value_is
from tests.test_transformations import test_first_derivatives as test_first_derivatives
from tests.test_transformations import test_reverse_mode_in_control_flow as test_reverse_mode_in_control_flow
from tests.test_transformations import test_third_derivatives as test_third_derivatives
from tests.test_transformations import test_vmap_of_derivatives as test_vmap_of_derivatives
from tests.tolerances import GRADIENT, OUTLIER, TOLERANCE, assert_close, assert_same

# Slabs of one size and with a rest, none at all, few features (wide rows first), features in front, two feature axes.
LAYOUTS = [
    ((64, 7, 6, 3), (0, 1, 2)),
    ((16, 3, 37, 5), (0, 2, 3)),
    ((33, 200), (0,)),
    ((3, 2, 2, 70), (0, 1, 2)),
    ((2, 5, 9, 8), (1, 2)),
    ((0, 4, 3), (0, 1)),
    ((5,), (0,)),
]
every_layout = pytest.mark.parametrize(("shape", "reduced"), LAYOUTS)


@pytest.fixture(autouse=True, scope="module")
def one_device():
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        yield
    jax.clear_caches()


def noise(shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def ends(shape, reduced):
    """The shape of the sums."""
    return [1 if d in reduced else n for d, n in enumerate(shape)]


@every_layout
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_total_and_spread_are_what_they_say(shape, reduced, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, value = noise(shape).astype(dtype), noise(ends(shape, reduced), 1).astype(dtype)
        for run in (lambda f: f, jax.jit):
            summed = run(lambda x: total(x, reduced))(x)
            wide = run(lambda value: spread(value, x))(value)
            assert summed.dtype == wide.dtype == dtype
            exact = x.astype("complex128").sum(reduced, keepdims=True)
            np.testing.assert_allclose(summed, exact, rtol=1e-5, atol=1e-5)
            assert_same(wide, np.broadcast_to(value, shape))


@every_layout
def test_each_is_the_transpose_of_the_other(shape, reduced):
    x, value = noise(shape), noise(ends(shape, reduced), 1)
    (wide,) = jax.linear_transpose(lambda x: total(x, reduced), x)(value)
    assert_same(wide, spread(value, x))
    (summed,) = jax.linear_transpose(lambda value: spread(value, x), value)(x)
    assert_same(summed, total(x, reduced))
    # And of their transposes in turn.
    (again,) = jax.linear_transpose(lambda v: jax.linear_transpose(lambda x: total(x, reduced), x)(v)[0], value)(x)
    assert_same(again, total(x, reduced))


@every_layout
@pytest.mark.parametrize("within", [0, -1])
def test_vmap_is_a_loop(shape, reduced, within):
    x = np.stack([noise(shape, seed) for seed in range(3)], within)
    summed = jax.vmap(lambda x: total(x, reduced), within)(x)
    wide = jax.vmap(spread, (0, within), within)(summed, x)
    members = np.moveaxis(x, within, 0)
    np.testing.assert_allclose(summed, np.stack([total(m, reduced) for m in members]), rtol=1e-5, atol=1e-6)
    assert_same(np.moveaxis(wide, within, 0), np.stack([np.broadcast_to(s, shape) for s in np.asarray(summed)]))


@pytest.mark.parametrize(
    ("shape", "axis"), [((64, 14, 6, 3), -1), ((16, 3, 37, 5), 1), ((1031, 4), 1), ((4, 5, 97), 0)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_output_and_all_gradients(shape, axis, masked):
    x, dy = noise(shape) + np.float32(3), noise(shape, 1)
    mask = noise(shape, 2) > 0.3 if masked else None
    params, state = init_batch_norm(shape[axis])
    params = params._replace(scale=params.scale + 0.5, bias=params.bias - 1)

    @jax.jit
    def both(params, x):
        y, pull = jax.vjp(lambda params, x: batch_norm(params, state, x, True, axis=axis, mask=mask)[0], params, x)
        return y, *pull(dy)

    y, by_params, by_x = both(params, x)
    assert_close(y, reference.batch_norm(x, 1.5, -1.0, axis, mask=mask), TOLERANCE["float32"])
    expected = reference.gradient(x, dy, 1.5, axis, mask=mask)
    for got, wanted in zip((by_x, by_params.scale, by_params.bias), expected, strict=True):
        assert_close(got, wanted, GRADIENT["float32"])


@pytest.mark.parametrize("shape", [(64, 16, 16, 4), (128, 9, 12, 70)])
@pytest.mark.parametrize("outlier", [1e2, 1e3, 1e5])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_an_outlier_shows_all_its_digits(shape, outlier, offset):
    x = noise(shape) + np.float32(offset)
    x[5, 3, 2] += outlier
    params, state = init_batch_norm(shape[-1])
    y = jax.jit(functools.partial(batch_norm, params, state, train=True))(x)[0]
    assert np.max(np.abs(np.asarray(y, "float64") - reference.batch_norm(x))) <= OUTLIER


@pytest.mark.parametrize("large", [1.0, 2.0**24, 3e9, np.inf, np.nan])
def test_a_large_value_is_found_and_its_sum_exact(large):
    values = np.ones((64, 16, 16, 4), "float32")
    values[40, 3, 2] = large
    got = jax.jit(lambda v: sum_of_squares(v, (0, 1, 2)))(values)
    exact = np.reshape([math.fsum(row) for row in values.reshape(-1, 4).T], (1, 1, 1, 4))
    np.testing.assert_allclose(got, exact, rtol=1.2e-7)


@pytest.mark.parametrize("spec", [("i",), (None, "i")])
def test_an_explicit_mesh_of_one_device(spec):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Explicit,), devices=jax.devices()[:1])
    x, dy = noise((64, 6, 6, 4)) + np.float32(3), noise((64, 6, 6, 4), 1)
    params, state = init_batch_norm(4)
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.P(*spec)))
        got = jax.jit(jax.grad(lambda x: (dy * batch_norm(params, state, x, True)[0]).sum()))(placed)
    assert_close(got, reference.gradient(x, dy, 1.0)[0], GRADIENT["float32"])


def test_no_more_than_an_eighth_of_the_data_is_left_to_reductions():
    x = noise((64, 16, 16, 4))
    params, state = init_batch_norm(4)

    def both(params, x, dy):
        y, pull = jax.vjp(lambda params, x: batch_norm(params, state, x, True)[0], params, x)
        return y, pull(dy)

    text = jax.jit(both).lower(params, x, x).as_text()
    reduced = re.findall(r"stablehlo\.reduce\(.*?: \(tensor<([\dx]+)xf32>", text)
    sizes = [math.prod(map(int, dims.split("x"))) for dims in reduced]
    assert sizes
    assert max(sizes) <= x.size / 8
