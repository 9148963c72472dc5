"""Several devices are one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import FIRST, NETS, X, errors, expected, functional
from tests.tolerances import assert_close, assert_same

pytestmark = pytest.mark.slow


def mesh():
    return jax.make_mesh((4,), ("devices",), axis_types=(AxisType.Auto,))


@pytest.mark.several_devices
@pytest.mark.parametrize("name", ["linen-flax", "functional"])
def test_sharded_batches_need_no_axis(name):
    net, everywhere = NETS[name](), NamedSharding(mesh(), P())
    x, variables = jax.device_put(X, NamedSharding(mesh(), P("devices"))), jax.device_put(net.variables, everywhere)
    new, _ = recalibrate(net.apply, variables, [x])
    assert_close(net.read(new), expected())
    assert {leaf.sharding for leaf in jax.tree.leaves(new)} == {everywhere}


UNEVEN = (np.arange(10) < np.array([[10], [0], [3], [7]])).reshape(40, 1)


@pytest.mark.several_devices
@pytest.mark.parametrize("name", ["linen-ours", "functional"])
def test_apply_that_maps_over_devices(name):
    net = NETS[name]()

    @jax.jit
    @jax.shard_map(mesh=mesh(), in_specs=(P(), P("devices"), P("devices")), out_specs=P("devices"))
    def spread(v, x, mask):
        return jax.tree.leaves(net.apply(v, x, mask))[0]

    def apply(v, batch):
        return spread(v, *batch)

    new, report = recalibrate(apply, net.variables, [(jnp.asarray(X), jnp.asarray(UNEVEN))], axis_name="devices")
    assert_close(net.read(new), expected(X[UNEVEN[:, 0]]))
    assert report["one"].samples.max() == 20
    moved = report["one"]
    assert_close(moved.std / moved.std_errors, errors(X[UNEVEN[:, 0]] @ FIRST)[1], 1e-5)
    with pytest.raises(ValueError, match=r"`axis_name` must name the axes \('devices',\) of the shard_map in `apply`"):
        recalibrate(apply, net.variables, [(jnp.asarray(X), jnp.asarray(UNEVEN))])


@pytest.mark.parametrize("how", [pytest.param("shard_map", marks=pytest.mark.several_devices), "vmap"])
def test_called_on_every_device(how):
    net = functional()

    def each(v, x, mask):
        apply = lambda v, batch: net.apply(v, *batch)  # noqa: E731
        new, report = recalibrate(apply, v, [(x[:4], mask[:4]), (x[4:], mask[4:])], axis_name="devices")
        return new, report["one"].samples

    if how == "vmap":
        split = [part.reshape(4, 10, -1) for part in (X, UNEVEN)]
        new, samples = jax.vmap(each, (None, 0, 0), axis_name="devices")(net.variables, *split)
        new, samples = jax.tree.map(lambda part: part[0], (new, samples))
    else:
        specs = (P(), P("devices"), P("devices"))
        mapped = jax.shard_map(each, mesh=mesh(), in_specs=specs, out_specs=P())
        # Operation by operation, each would be compiled for four devices.
        new, samples = jax.jit(mapped)(net.variables, X, UNEVEN)
    assert_close(net.read(new), expected(X[UNEVEN[:, 0]]))
    assert_same(samples, np.full(4, 20, "float32"))


def test_inside_of_jit():
    net = functional()
    new, report = jax.jit(lambda v, x: recalibrate(net.apply, v, [x[:9], x[9:]], prior=10))(net.variables, X)
    plain, same = recalibrate(net.apply, net.variables, [X[:9], X[9:]], prior=10)
    assert_close(new, plain)
    assert_close(report, same, 1e-4)
    for rule in ("samples", "tolerance"):
        with pytest.raises(
            ValueError, match=f"`{rule}` must be None inside of jit, vmap and shard_map, got 1; give fewer"
        ):
            jax.jit(lambda v, x: recalibrate(net.apply, v, [x], **{rule: 1})[0])(net.variables, X)  # noqa: B023
