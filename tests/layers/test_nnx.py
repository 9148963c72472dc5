"""The nnx layer is Flax's own in all but its errors, and the linen layer to the last bit."""

import inspect
import pickle
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn import initializers

import jaxbn.linen
from jaxbn.nnx import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import FLAX, TOLERANCE, assert_close, assert_same

X = noise(6, 4, 3, mean=3)
EXAMPLES = np.array([1, 0, 1, 1, 0, 1], bool)[:, None, None]
CHANNELS = np.array([True, False, True])
RANDOM = {"scale_init": initializers.normal(1.0), "bias_init": initializers.uniform(1.0)}


def make(features=3, **kwargs):
    return BatchNorm(features, rngs=nnx.Rngs(0), **kwargs)


def variables(layer):
    return nnx.to_pure_dict(nnx.state(layer))


def call(layer, *args, **kwargs):
    with jax.numpy_dtype_promotion("standard"):  # what Flax needs
        return layer(*args, **kwargs)


def parameters(function):
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


def test_constructor_and_calls_are_flax_own():
    extra = ["mean_init", "var_init", "averaging", "ddof", "ghost_size", "r_max", "d_max", "micro_batches"]
    ours, theirs = parameters(BatchNorm.__init__), parameters(nnx.BatchNorm.__init__)
    assert ours == theirs + [(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
    assert parameters(BatchNorm.__call__) == parameters(nnx.BatchNorm.__call__)
    assert parameters(BatchNorm.set_view) == parameters(nnx.BatchNorm.set_view)
    assert BatchNorm.__name__ == "BatchNorm"


def test_defaults_are_flax_own():
    ours, theirs = (inspect.signature(cls.__init__).parameters for cls in (BatchNorm, nnx.BatchNorm))
    initial = ("scale_init", "bias_init", "promote_dtype")
    assert all(ours[name].default == p.default for name, p in theirs.items() if name not in initial)
    assert_same(variables(make()), variables(nnx.BatchNorm(3, rngs=nnx.Rngs(0))))


def test_attributes_are_flax_own():
    with jax.numpy_dtype_promotion("standard"):
        theirs = nnx.BatchNorm(3, rngs=nnx.Rngs(0), use_bias=False)
    ours = make(use_bias=False)
    assert set(vars(ours)) - set(vars(theirs)) == {
        "averaging",
        "ddof",
        "ghost_size",
        "r_max",
        "d_max",
        "micro_batches",
    }
    assert set(vars(theirs)) <= set(vars(ours))
    assert (type(ours.mean), type(ours.scale), ours.bias) == (nnx.BatchStat, nnx.Param, None)


LAYERS = {
    "default": {},
    "axis-1": {"axis": 1},
    "no-scale": {"use_scale": False},
    "no-bias": {"use_bias": False, "momentum": 0.5, "epsilon": 0.1},
    "random": RANDOM,
    "param-dtype": {"param_dtype": jnp.bfloat16, "dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16},
}
MASKS = {"whole": None, "examples": EXAMPLES, "channels": CHANNELS}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kwargs", LAYERS.values(), ids=LAYERS)
def test_linen_and_nnx_are_equal_to_the_last_bit(kwargs, mask):
    if mask is CHANNELS and "axis" in kwargs:
        mask = None
    features = X.shape[kwargs.get("axis", -1)]
    layer, linen = make(features, **kwargs), jaxbn.linen.BatchNorm(**kwargs)
    statistics = {"mean": layer.mean[...], "var": layer.var[...]}
    stored = {"params": nnx.to_pure_dict(nnx.state(layer, nnx.Param)), "batch_stats": statistics}
    for _ in range(2):
        expected, updates = linen.apply(stored, X, use_running_average=False, mask=mask, mutable=["batch_stats"])
        assert_same(layer(X, mask=mask), expected)
        assert_same((layer.mean[...], layer.var[...]), (updates["batch_stats"]["mean"], updates["batch_stats"]["var"]))
        stored |= updates
    expected = linen.apply(stored, X.astype("bfloat16"), use_running_average=True, mask=mask)
    assert_same(layer(X.astype("bfloat16"), use_running_average=True, mask=mask), expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kwargs", LAYERS.values(), ids=LAYERS)
def test_outputs_and_statistics_are_flax_own(kwargs, masked):
    features = X.shape[kwargs.get("axis", -1)]
    mask = {"mask": EXAMPLES} if masked else {}
    ours, theirs = (
        make(features, **kwargs),
        nnx.BatchNorm(features, rngs=nnx.Rngs(0), use_fast_variance=False, **kwargs),
    )
    assert_same(variables(ours), variables(theirs))
    # Flax rounds the input and the statistics to the dtype of the output as well.
    tolerance = 3e-2 if kwargs.get("dtype") == jnp.bfloat16 else FLAX
    for evaluate in (False, False, True):
        y, expected = (call(layer, X, use_running_average=evaluate, **mask) for layer in (ours, theirs))
        assert y.dtype == expected.dtype
        keep = EXAMPLES if masked else True
        assert_close(jnp.where(keep, y, 0), jnp.where(keep, expected, 0), tolerance)
        assert_close(variables(ours), variables(theirs), tolerance)


def test_a_count_is_kept_only_where_it_is_needed():
    assert not hasattr(make(ddof=1), "count")
    layer = make(averaging="warmup", ddof=1)
    for step in (1, 2):
        layer(X)
        assert layer.count[...] == step
    m = reference.moments(X)
    assert_close((layer.mean[...], layer.var[...]), (m.mean, reference.variance(m, ddof=1)), TOLERANCE["float32"])


def test_keys_are_drawn_as_in_flax_and_those_of_the_statistics_last():
    rngs, theirs = nnx.Rngs(0), nnx.Rngs(0)
    layer = BatchNorm(3, rngs=rngs, **RANDOM)
    nnx.BatchNorm(3, rngs=theirs, **RANDOM)
    assert jnp.all(rngs.params() == theirs.params())
    other = make(mean_init=initializers.normal(1.0), **RANDOM)
    assert jnp.std(other.mean[...]) > 0
    assert_same((other.scale[...], other.bias[...]), (layer.scale[...], layer.bias[...]))


def test_metadata_of_the_parameters():
    layer = make(scale_metadata={"note": "s"}, bias_metadata={"note": "b"})
    assert (layer.scale.note, layer.bias.note) == ("s", "b")


def test_the_call_decides_before_the_constructor_and_one_of_them_must():
    layer = make(use_running_average=True)
    assert_close(layer(X), X / np.sqrt(1 + 1e-5), TOLERANCE["float32"])
    assert_close(layer(X, use_running_average=False), reference.batch_norm(X), TOLERANCE["float32"])
    with pytest.raises(ValueError, match=r"`use_running_average` must be given"):
        make(use_running_average=None)(X)


def test_train_eval_and_views():
    layer = make()
    layer.eval()
    layer(X)
    assert jnp.all(layer.mean[...] == 0)
    view = nnx.view(layer, use_running_average=False)
    view(X)
    assert jnp.all(layer.mean[...] != 0)
    assert "use_running_average: bool | None = None\n    whether to normalise" in nnx.view_info(layer)


@pytest.mark.parametrize("average", [False, True])
def test_a_traced_flag(average):
    layer, expected = make(), make()
    y = nnx.jit(lambda layer, flag: layer(X, use_running_average=flag))(layer, average)
    assert_close(y, expected(X, use_running_average=average), 1e-6)
    assert_close(variables(layer), variables(expected), 1e-6)


def test_the_statistics_carry_no_gradient():
    def remembered(x):
        layer = make()
        layer(x)
        return jnp.sum(layer.mean[...]) + jnp.sum(layer.var[...])

    assert jnp.all(jax.grad(remembered)(jnp.asarray(X)) == 0)


def test_a_layer_is_pickled():
    layer = make()
    layer(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(variables(pickle.loads(pickle.dumps(layer))), variables(layer))


def test_linen_in_nnx_and_nnx_in_linen():
    bridged = nnx.bridge.ToNNX(jaxbn.linen.BatchNorm(use_running_average=False), rngs=nnx.Rngs(0)).lazy_init(X)
    assert_same(bridged(X, mutable=["batch_stats"]), make()(X))
    linen = nnx.bridge.ToLinen(BatchNorm, args=(3,))
    y, updates = linen.apply(linen.init(jax.random.key(0), X), X, mutable=["batch_stats"])
    assert_same(y, make()(X))
    assert isinstance(linen, nn.Module)
    assert jax.tree.leaves(updates["batch_stats"])
