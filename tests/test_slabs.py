"""How sums are made on a CPU: for many members, for many devices, and where it pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._reduce import cpu, expand, project
from tests import reference
from tests.collectives import sent
from tests.data import noise
from tests.layouts import LAYOUTS, beside, problem
from tests.tolerances import GRADIENT, assert_close

pytestmark = pytest.mark.optimized


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "axes"), LAYOUTS)
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
