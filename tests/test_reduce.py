"""The two primitives are what they say, each the transpose of the other, with either lowering."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._reduce import expand, project
from tests import reference
from tests.data import noise
from tests.layouts import LAYOUTS, beside, problem
from tests.lowering import lowered_plainly
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

every_layout = pytest.mark.parametrize(("shape", "axes"), LAYOUTS)


@pytest.fixture(scope="module", params=[False, True], ids=["cpu", "plain"], autouse=True)
def _lowering(request):
    """Of the whole file at once, since each change forgets what is compiled."""
    with lowered_plainly(request.param):
        yield


@every_layout
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_they_are_what_they_say(shape, axes, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, center, values, pair = problem(shape, axes, dtype)
        deviation = np.asarray(x, "complex128") - sum(beside(c, shape, axes) for c in center)
        others = tuple(d for d in range(len(shape)) if d not in axes)
        for run in (lambda f, **_: f, jax.jit):
            got = run(project, static_argnames="axes")(values, x, center, axes=axes)
            exact = [np.sum(v, others) for v in (np.asarray(values), np.asarray(values) * deviation)]
            for g, e in zip(got, exact, strict=True):
                assert g.dtype == dtype
                np.testing.assert_allclose(g, e, rtol=1e-4, atol=2e-4)
            wide = run(expand, static_argnames="axes")(*pair, x, center, axes=axes)
            assert wide.dtype == dtype
            constant, slope = (beside(p, shape, axes) for p in pair)
            np.testing.assert_allclose(wide, constant + slope * deviation, rtol=1e-5, atol=1e-5)


@every_layout
def test_each_is_the_transpose_of_the_other(shape, axes):
    x, center, values, pair = problem(shape, axes)
    (wide,) = jax.linear_transpose(lambda v: project(v, x, center, axes), values)(tuple(pair))
    assert_same(wide, expand(*pair, x, center, axes))
    summed = jax.linear_transpose(lambda a, b: expand(a, b, x, center, axes), *pair)(values)
    assert_same(summed, project(values, x, center, axes))


def twice(outer, inner, function):
    """The second derivative by all three arguments."""
    return outer(inner(function, (0, 1, 2)), (0, 1, 2))


@pytest.mark.slow
def test_derivatives_by_everything():
    """Also by what is not linear: the batch and its center."""
    shape, axes = (3, 5, 2), (2,)
    x, center, values, pair = problem(shape, axes)

    def plain(values, x, center):
        d = x - center[0].reshape(1, 1, -1) - center[1].reshape(1, 1, -1)
        return jnp.sum(values, (0, 1)), jnp.sum(values * d, (0, 1))

    def line(pair, x, center):
        d = x - center[0].reshape(1, 1, -1) - center[1].reshape(1, 1, -1)
        return pair[0].reshape(1, 1, -1) + pair[1].reshape(1, 1, -1) * d

    for ours, theirs, arguments in (
        (lambda *a: project(*a, axes), plain, (values, x, center)),
        (lambda p, x, c: expand(*p, x, c, axes), line, (tuple(pair), x, center)),
    ):
        expected = jax.jit(twice(jax.jacfwd, jax.jacrev, theirs))(*arguments)
        for outer, inner in itertools.product((jax.jacfwd, jax.jacrev), repeat=2):
            got = jax.jit(twice(outer, inner, ours))(*arguments)
            for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "axis"), [((64, 14, 6, 3), -1), ((16, 3, 37, 5), 1), ((1031, 4), 1), ((4, 5, 97), 0), ((8192, 3), 1)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_output_and_all_gradients(shape, axis, masked):
    x, dy = noise(*shape, mean=3), noise(*shape, seed=1)
    mask = noise(*shape, seed=2) > 0.3 if masked else None
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
