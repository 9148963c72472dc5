"""The two primitives are what they say, each the transpose of the other, with either lowering."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._reduce import cpu, expand, project
from tests import reference
from tests.collectives import sent
from tests.data import noise
from tests.lowering import lowered_plainly
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

# Slabs of one size and with a rest, none at all, few features (wide rows first), features in front, two feature axes.
LAYOUTS = [
    ((64, 14, 13, 3), (3,)),
    ((16, 3, 61, 5), (1,)),
    ((4099, 7), (1,)),
    ((3, 2, 2, 70), (3,)),
    ((2, 5, 900, 8), (0, 3)),
    ((0, 4, 3), (2,)),
    ((5, 1), (1,)),
    ((3,), (0,)),
]
every_layout = pytest.mark.parametrize(("shape", "axes"), LAYOUTS)
every_lowering = pytest.mark.parametrize("plainly", [False, True], ids=["cpu", "plain"])


@pytest.fixture(autouse=True)
def _lowering(request):
    plainly = request.node.callspec.params.get("plainly", False) if hasattr(request.node, "callspec") else False
    with lowered_plainly(plainly):
        yield


def features(shape, axes):
    return [shape[a] for a in axes]


def beside(value, shape, axes):
    """In NumPy, as it broadcasts."""
    return np.asarray(value).reshape([n if d in axes else 1 for d, n in enumerate(shape)])


def problem(shape, axes, dtype="float32"):
    """The batch, the two numbers of its center, and what is to be summed and to be spread."""
    x, values = (jnp.asarray(noise(*shape, dtype=dtype, seed=s)) for s in (0, 1))
    numbers = [jnp.asarray(noise(*features(shape, axes), dtype=dtype, seed=s)) for s in (2, 3, 4, 5)]
    return x, tuple(numbers[:2]), values, numbers[2:]


@every_lowering
@every_layout
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_they_are_what_they_say(shape, axes, dtype, plainly):
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


@every_lowering
@every_layout
def test_each_is_the_transpose_of_the_other(shape, axes, plainly):
    x, center, values, pair = problem(shape, axes)
    (wide,) = jax.linear_transpose(lambda v: project(v, x, center, axes), values)(tuple(pair))
    assert_same(wide, expand(*pair, x, center, axes))
    summed = jax.linear_transpose(lambda a, b: expand(a, b, x, center, axes), *pair)(values)
    assert_same(summed, project(values, x, center, axes))


@every_layout
@pytest.mark.parametrize("within", [0, -1])
def test_vmap_is_a_loop(shape, axes, within):
    members = [problem(shape, axes)[0] + seed for seed in range(3)]
    _, center, values, pair = problem(shape, axes)
    x = jnp.stack(members, within)
    summed = jax.vmap(lambda x: project(values, x, center, axes), within)(x)
    wide = jax.vmap(lambda x: expand(*pair, x, center, axes), within, within)(x)
    for i, member in enumerate(members):
        for got, expected in zip(summed, project(values, member, center, axes), strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(jnp.moveaxis(wide, within, 0)[i], expand(*pair, member, center, axes), rtol=1e-5)


@every_lowering
def test_derivatives_by_everything(plainly):
    """Also by what is not linear: the batch and its center."""
    shape, axes = (3, 5, 2), (2,)
    x, center, values, pair = problem(shape, axes)

    def plain(values, x, center):
        d = x - center[0].reshape(1, 1, -1) - center[1].reshape(1, 1, -1)
        return jnp.sum(values, (0, 1)), jnp.sum(values * d, (0, 1))

    def line(pair, x, center):
        d = x - center[0].reshape(1, 1, -1) - center[1].reshape(1, 1, -1)
        return pair[0].reshape(1, 1, -1) + pair[1].reshape(1, 1, -1) * d

    twice = itertools.product((jax.jacfwd, jax.jacrev), repeat=2)
    for outer, inner in twice:
        for ours, theirs, arguments in (
            (lambda *a: project(*a, axes), plain, (values, x, center)),
            (lambda p, x, c: expand(*p, x, c, axes), line, (tuple(pair), x, center)),
        ):
            got, expected = (outer(inner(f, (0, 1, 2)), (0, 1, 2))(*arguments) for f in (ours, theirs))
            for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-4)


@every_lowering
@pytest.mark.parametrize(
    ("shape", "axis"), [((64, 14, 6, 3), -1), ((16, 3, 37, 5), 1), ((1031, 4), 1), ((4, 5, 97), 0), ((8192, 3), 1)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_output_and_all_gradients(shape, axis, masked, plainly):
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


@pytest.mark.parametrize("spec", [("i",), (None, "i")])
def test_an_explicit_mesh_of_one_device(spec):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Explicit,), devices=jax.devices()[:1])
    x, dy = noise(64, 6, 6, 4, mean=3), noise(64, 6, 6, 4, seed=1)
    params, state = init_batch_norm(4)
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.P(*spec)))
        got = jax.jit(jax.grad(lambda x: (dy * batch_norm(params, state, x, True)[0]).sum()))(placed)
    assert_close(got, reference.gradient(x, dy, 1.0)[0], GRADIENT["float32"])


@pytest.mark.several_devices
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
@pytest.mark.parametrize(
    ("shape", "axes", "spec"),
    [
        ((64, 6, 6, 4), (3,), ("i",)),
        ((8, 32, 6, 4), (3,), (None, "i")),
        ((8, 32, 6, 4), (3,), (None, None, None, "i")),
        ((8, 4, 64, 3), (1,), (None, None, "i")),
        ((100, 7), (1,), ("i",)),
        ((4, 7), (1,), ("i",)),
    ],
)
def test_devices_that_share_a_batch_send_sums(kind, shape, axes, spec):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType[kind],))
    x, center, values, _ = problem(shape, axes)
    with jax.set_mesh(mesh):
        x, values = jax.device_put((x, values), jax.NamedSharding(mesh, jax.P(*spec)))
        summed = jax.jit(lambda values, x, center: cpu.project(values, x, *center, axes=axes, devices=4))
        program = summed.lower(values, x, center).compile()
        total, along = program(values, x, center)
    deviation = np.asarray(x, "float64") - sum(beside(c, shape, axes) for c in center)
    others = tuple(d for d in range(len(shape)) if d not in axes)
    np.testing.assert_allclose(total, np.sum(values, others), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(along, np.sum(np.asarray(values) * deviation, others), rtol=1e-4, atol=2e-4)
    assert max(sent(program), default=0) <= shape[axes[0]]


@pytest.mark.parametrize(
    ("shape", "devices", "expected"),
    [
        ((64, 100), 1, True),
        ((64, 28, 28, 6), 1, True),
        ((8, 16, 16, 64), 1, False),
        ((0, 3), 1, True),
        ((64, 100), 4, False),
        ((64, 28, 28, 6), 4, False),
        ((64, 32, 32, 32), 4, True),
        ((1024, 4096), 4, False),
    ],
)
def test_slabs_are_for_small_arrays_and_for_many_values(shape, devices, expected):
    assert cpu.pays(shape, (len(shape) - 1,), devices) == expected
