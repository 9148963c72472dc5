"""The linen layer is Flax's own in all but its errors: changing one import migrates a model."""

import dataclasses
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn.linen import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import FLAX, TOLERANCE, assert_close, assert_same

KEY = jax.random.key(0)
MASK = np.array([1, 0, 1, 1, 0, 1], bool)[:, None, None]
RANDOM = {"scale_init": initializers.normal(1.0), "bias_init": initializers.uniform(1.0)}


def both(**kwargs):
    """Our layer, and Flax's with the variance that is not fast."""
    return BatchNorm(**kwargs), nn.BatchNorm(**kwargs, use_fast_variance=False)


def init(layer, x, **kwargs):
    with jax.numpy_dtype_promotion("standard"):  # what Flax needs
        return layer.init(KEY, x, use_running_average=False, **kwargs)


def train(layer, variables, x, **kwargs):
    with jax.numpy_dtype_promotion("standard"):
        return layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"], **kwargs)


def evaluate(layer, variables, x, **kwargs):
    with jax.numpy_dtype_promotion("standard"):
        return layer.apply(variables, x, use_running_average=True, **kwargs)


def parameters(function):
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


def test_constructor_and_call_are_flax_own():
    ours, theirs = parameters(BatchNorm), parameters(nn.BatchNorm)
    extra = {"mean_init", "var_init", "averaging", "ddof", "ghost_size", "r_max", "d_max", "micro_batches"}
    assert [p for p in ours if p[0] not in extra] == theirs
    assert {name for name, _ in ours} - {name for name, _ in theirs} == extra
    names = [f.name for f in dataclasses.fields(BatchNorm) if f.name not in ("parent", "name")]
    assert set(names[-len(extra) :]) == extra
    assert parameters(BatchNorm.__call__) == parameters(nn.BatchNorm.__call__)
    assert BatchNorm.__name__ == "BatchNorm"


def test_defaults_are_flax_own():
    ours, theirs = ({f.name: f.default for f in dataclasses.fields(c)} for c in (BatchNorm, nn.BatchNorm))
    assert {name: ours[name] for name in theirs} == theirs


LAYERS = {
    "default": {},
    "axis-1": {"axis": 1},
    "two-axes": {"axis": (1, 2)},
    "no-scale": {"use_scale": False},
    "no-bias": {"use_bias": False, "momentum": 0.5, "epsilon": 0.1},
    "random": RANDOM,
    "param-dtype": {"param_dtype": jnp.bfloat16, "dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16, **RANDOM},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kwargs", LAYERS.values(), ids=LAYERS)
def test_variables_outputs_and_statistics_are_flax_own(kwargs, masked):
    x, (ours, theirs) = noise(6, 4, 3, mean=3.0), both(**kwargs)
    call = {"mask": MASK} if masked else {}
    variables = init(ours, x)
    expected = init(theirs, x)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    assert_same(variables, expected)
    for _ in range(2):
        (y, updates), (y_expected, updates_expected) = (train(layer, variables, x, **call) for layer in (ours, theirs))
        assert y.dtype == y_expected.dtype
        keep = MASK if masked else True
        tolerance = TOLERANCE["bfloat16"] if y.dtype == jnp.bfloat16 else FLAX
        assert_close(jnp.where(keep, y, 0), jnp.where(keep, y_expected, 0), tolerance)
        assert_close(updates, updates_expected, FLAX)
        variables = {**variables, **updates}
    assert_close(evaluate(ours, variables, x), evaluate(theirs, variables, x), tolerance)


def test_complex_data():
    x = noise(6, 3, dtype="complex64")
    layer = BatchNorm(use_scale=False, use_bias=False)
    variables = init(layer, x)
    assert {k: str(v.dtype) for k, v in variables["batch_stats"].items()} == {"mean": "complex64", "var": "float32"}
    y, updates = train(layer, variables, x)
    assert_close(y, reference.batch_norm(x), TOLERANCE["complex64"])
    assert_close(updates["batch_stats"]["mean"], 0.01 * reference.moments(x).mean, TOLERANCE["complex64"])


def test_strict_promotion_is_enough():
    x = noise(6, 3).astype("bfloat16")
    for dtype in (None, jnp.float32, jnp.bfloat16):
        layer = BatchNorm(dtype=dtype)
        y, _ = layer.init_with_output(KEY, x, use_running_average=False)
        assert y.dtype == (dtype or x.dtype)


def test_the_fast_variance_of_flax_is_not_taken_over():
    x = noise(64, 3, mean=1e4)
    layer = BatchNorm(use_fast_variance=True)
    assert_close(train(layer, init(layer, x), x)[0], reference.batch_norm(x), TOLERANCE["float32"])


@pytest.mark.parametrize("average", [False, True])
def test_a_traced_flag(average):
    x, layer = noise(6, 3), BatchNorm()
    variables = init(layer, x)
    traced = jax.jit(lambda flag: layer.apply(variables, x, use_running_average=flag, mutable=["batch_stats"]))
    y, updates = traced(average)
    expected = evaluate(layer, variables, x) if average else train(layer, variables, x)[0]
    assert_close(y, expected, 1e-6)
    assert bool(jnp.all(updates["batch_stats"]["mean"] == 0)) == average


def test_the_flag_is_given_once():
    x = noise(6, 3)
    for layer, call in ((BatchNorm(), {}), (BatchNorm(use_running_average=True), {"use_running_average": True})):
        with pytest.raises(ValueError, match="use_running_average"):
            layer.init(KEY, x, **call)
    with pytest.raises(TypeError, match=r"^`use_running_average` must be a bool, got 100; linen needs no number"):
        BatchNorm(100).init(KEY, x)
    assert BatchNorm(use_running_average=True).init_with_output(KEY, x)[0].shape == x.shape


@pytest.mark.slow
def test_initialising_updates_nothing_and_needs_no_mapped_axis():
    x, layer = noise(2, 6, 3, mean=5.0), BatchNorm(axis_name="batch", axis_index_groups=[[0, 1]])
    variables = init(layer, x[0])
    assert_same(variables["batch_stats"], {"mean": jnp.zeros(3), "var": jnp.ones(3)})
    y, updates = jax.vmap(lambda x: train(layer, variables, x), axis_name="batch")(x)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    expected = np.stack([0.01 * reference.moments(x).mean] * 2)
    assert_close(updates["batch_stats"]["mean"], expected, TOLERANCE["float32"])
    with pytest.raises(ValueError, match=r"`axis_name` must be a mapped axis.*batch"):
        train(layer, variables, x[0])


def test_a_count_is_kept_only_where_it_is_needed():
    x = noise(6, 3, mean=5.0)
    assert set(init(BatchNorm(ddof=1), x)["batch_stats"]) == {"mean", "var"}
    layer = BatchNorm(averaging="warmup", ddof=1)
    variables = init(layer, x)
    assert variables["batch_stats"]["count"].dtype == "int32"
    for step in (1, 2, 3):
        _, updates = train(layer, variables, x)
        variables = {**variables, **updates}
        stats, m = variables["batch_stats"], reference.moments(x)
        assert stats["count"] == step
        assert_close((stats["mean"], stats["var"]), (m.mean, reference.variance(m, ddof=1)), TOLERANCE["float32"])


@pytest.mark.slow
def test_a_training_loop_under_scan():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(1)(nn.relu(BatchNorm(not train, momentum=0.9)(nn.Dense(8)(x))))

    x, net = noise(32, 3, mean=1.0), Net()
    target = jnp.sum(x, 1, keepdims=True)
    variables = net.init(KEY, x, train=False)

    def step(variables, _):
        def loss(params):
            y, updates = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.square(y - target)), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.05 * g, variables["params"], gradient)
        return {"params": params, **updates}, value

    trained, losses = jax.jit(lambda v: jax.lax.scan(step, v, length=200))(variables)
    assert losses[-1] < 0.1 * losses[0]
    evaluated = jnp.mean(jnp.square(net.apply(trained, x, train=False) - target))
    assert abs(evaluated - losses[-1]) < 0.1


@pytest.mark.slow
def test_several_axes_have_the_variables_of_flax():
    x = noise(5, 3, 4)
    (flax_layer, layer) = (cls(axis=(2, 1), use_running_average=False) for cls in (nn.BatchNorm, BatchNorm))
    variables = flax_layer.init(jax.random.key(0), x)
    y, _ = layer.apply(variables, x, mutable=["batch_stats"])
    assert_close(y, reference.batch_norm(x, axis=(1, 2)), TOLERANCE["float32"])


def test_statistics_are_made_where_only_parameters_were_given():
    x = noise(5, 3)
    params = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    _, made = BatchNorm().apply(params, x, use_running_average=False, mutable=["batch_stats"])
    assert_close(made["batch_stats"]["mean"], 0.01 * x.mean(0), TOLERANCE["float32"])
