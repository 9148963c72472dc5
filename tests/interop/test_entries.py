"""Which entries are read, and in which layouts, dtypes and places they may lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.interop import (
    from_equinox,
    from_haiku,
    from_keras,
    from_linen,
    from_nnx,
    from_torch,
    to_equinox,
    to_haiku,
    to_keras,
    to_linen,
    to_nnx,
    to_torch,
)
from tests.interop.layers import FOREIGN, HAIKU, D, layer
from tests.tolerances import assert_close, assert_same


class Unread:
    """Cannot be read at all."""

    def __array__(self, *args, **kwargs):
        raise AssertionError("read")

    __getattr__ = __array__


class Guarded(dict):
    """Hands out nothing but what belongs to the layer."""

    def __init__(self, allowed, other):
        super().__init__({**other, **allowed})
        self.allowed = set(allowed)

    def get(self, key, default=None):
        assert key not in self or key in self.allowed, key
        return super().get(key, default)

    def __getitem__(self, key):
        assert key in self.allowed, key
        return super().__getitem__(key)


def test_nothing_else_is_read():
    other = dict.fromkeys(("bn.other", "conv.weight", "bn2.running_mean", "weight", "running_mean"), Unread())
    flat = Guarded(to_torch(*layer(count=3), prefix="bn"), other)
    assert_same(from_torch(flat, "bn"), layer(count=3))
    flat = Guarded(to_keras(*layer(), prefix="bn"), {"bn/moving_stddev": Unread(), "gamma": Unread()})
    assert_same(from_keras(flat, "bn"), layer())
    params, state = to_haiku(*layer(count=3), "bn", **HAIKU)
    for average in state.values():
        average["hidden"] = Unread()
    state["bn/~/var_ema"]["counter"] = Unread()
    assert_same(from_haiku(Guarded(params, {"conv": Unread()}), Guarded(state, {"bn": Unread()}), "bn"), layer(count=3))
    variables = {kind: Guarded(tree, {"conv": Unread()}) for kind, tree in to_linen(*layer(), path="bn").items()}
    assert_same(from_linen(Guarded(variables, {"cache": Unread()}), "bn"), layer())
    assert_same(from_nnx(Guarded(to_nnx(*layer(), path="bn"), {"conv": Unread()}), "bn"), layer())
    batch = Guarded(to_equinox(*layer(count=3)), {"eps": Unread(), "ema_state_index": Unread()})
    assert_close(from_equinox(batch), layer(count=3), 2e-7)


@pytest.mark.parametrize("ndim", [2, 4, 5])
@pytest.mark.parametrize("axis", [(0, 1), (-1, 0), (1, 0)])
def test_several_feature_axes_in_haiku(axis, ndim):
    own = layer((2, 3), count=4)
    params, state = to_haiku(*own, "bn", decay=0.5, ndim=ndim, axis=axis)
    shape = [1] * ndim
    shape[axis[0]], shape[axis[1]] = 2, 3
    assert params["bn"]["scale"].shape == state["bn/~/var_ema"]["hidden"].shape == tuple(shape)
    assert_same(from_haiku(params, state, "bn", axis=axis), own)


def test_several_feature_axes_in_linen():
    own = layer((2, 3))
    assert_same(from_linen(to_linen(*own, path="bn"), "bn"), own)


def test_one_feature_in_haiku():
    own = layer((1,), count=2)
    assert_same(from_haiku(*to_haiku(*own, "bn", decay=0.5, ndim=3), "bn"), own)


def test_a_state_dict_without_a_count_has_seen_nothing():
    arrays = to_torch(*layer(count=7))
    del arrays["num_batches_tracked"]
    assert from_torch(arrays)[1].count == 0


def test_half_precision_statistics_become_float32():
    half = {name: array.astype("float16") for name, array in FOREIGN["torch"].items() if array.shape}
    params, state = from_torch(half)
    assert params.scale.dtype == params.bias.dtype == "float16"
    assert state.mean.dtype == state.var.dtype == "float32"
    np.testing.assert_array_equal(state.var, D)


def test_float64_becomes_float32_without_64_bit_types():
    params, state = from_keras({name: array.astype("float64") for name, array in FOREIGN["keras"].items()})
    assert {part.dtype for part in (*params, state.mean, state.var)} == {jnp.dtype("float32")}


def test_bytes_may_come_in_the_other_order():
    swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in FOREIGN["torch"].items()}
    assert jax.tree.all(jax.tree.map(np.array_equal, from_torch(swapped), from_torch(FOREIGN["torch"])))


def test_an_average_of_haiku_before_training_has_no_hidden_value():
    params, own = layer()
    for mean in (own.mean, own.mean * np.inf):
        _, state = to_haiku(params, own._replace(mean=mean), "bn", **HAIKU)
        assert np.all(state["bn/~/mean_ema"]["hidden"] == 0)
        assert np.all(state["bn/~/mean_ema"]["average"] != 0)


def test_paths_are_strings_or_sequences():
    own = layer()
    tree = {"blocks": {0: {"bn": to_nnx(*own)}}}
    for path in ("blocks/0/bn", "/blocks/0/bn/", ("blocks", 0, "bn"), ["blocks", "0", "bn"]):
        assert_same(from_nnx(tree, path), own)
    assert list(to_nnx(*own, path="blocks/0/bn")["blocks"]) == ["0"]
    assert list(to_nnx(*own, path=("blocks", 0, "bn"))["blocks"]) == [0]


def test_without_parameters_there_is_no_such_collection_in_linen():
    assert "params" not in to_linen(*layer(scale=False, bias=False))


def test_writing_to_the_source_at_once_changes_nothing():
    """JAX copies large arrays in the background, or not at all."""
    for _ in range(50):
        arrays = {"running_mean": np.zeros(100_000, "float32"), "running_var": np.ones(100_000, "float32")}
        _, state = from_torch(arrays)
        arrays["running_mean"][...] = arrays["running_var"][...] = 7
        assert not np.any(state.mean)
        assert np.all(state.var == 1)
