"""There and back is the identity, both ways round, of one layer by itself; what comes out are copies."""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import check_state
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
from tests.interop.layers import FOREIGN, HAIKU, C, D, layer
from tests.tolerances import assert_close, assert_same

# Forth, back, and whether the count is kept.
PAIRS = {
    "torch": (to_torch, from_torch, True),
    "torch-prefix": (lambda *own: to_torch(*own, "layer1.0.bn1"), lambda d: from_torch(d, "layer1.0.bn1."), True),
    "keras": (to_keras, from_keras, False),
    "keras-prefix": (lambda *own: to_keras(*own, "net/bn/"), lambda d: from_keras(d, "net/bn"), False),
    "haiku": (
        lambda *own: to_haiku(*own, "net/~/bn", **HAIKU),
        lambda dicts: from_haiku(*dicts, "net/~/bn"),
        True,
    ),
    "haiku-channels-first": (
        lambda *own: to_haiku(*own, "bn", **HAIKU, axis=1),
        lambda dicts: from_haiku(*dicts, "bn", axis=-3),
        True,
    ),
    "equinox-ema": (functools.partial(to_equinox, mode="ema"), from_equinox, False),
    "linen": (to_linen, from_linen, False),
    "linen-path": (lambda *own: to_linen(*own, "Block_0/bn"), lambda d: from_linen(d, ("Block_0", "bn")), False),
    "linen-count": (functools.partial(to_linen, averaging="cumulative"), from_linen, True),
    "nnx": (to_nnx, from_nnx, False),
    "nnx-path": (lambda *own: to_nnx(*own, ("blocks", 1, "bn")), lambda d: from_nnx(d, "blocks/1/bn"), False),
    "nnx-count": (functools.partial(to_nnx, averaging="warmup"), from_nnx, True),
}
COMPLEX = ("equinox-ema", "linen", "linen-path", "linen-count")
CASES = [*itertools.product(PAIRS, ["float32", "float16", "bfloat16", "float64"]), *((n, "complex64") for n in COMPLEX)]


@pytest.mark.parametrize("affine", [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_forth_and_back(name, dtype, affine):
    forth, back, counts = PAIRS[name]
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        own = layer(scale=affine[0], bias=affine[1], dtype=dtype, count=7 if counts else 0)
        again = back(forth(*own))
        if name.startswith("torch") and dtype == "bfloat16":
            # NumPy has no bfloat16 that PyTorch reads; float32 holds all its values.
            own = jax.tree.map(lambda part: part.astype("float32") if part.dtype == jnp.bfloat16 else part, own)
        assert jax.tree.structure(again) == jax.tree.structure(own)
        assert_same(again, own)
        assert all(isinstance(part, jax.Array) for part in jax.tree.leaves(again))
        check_state(again[1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
@pytest.mark.parametrize("count", [0, 1, 7, 10_000])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_forth_and_back_in_equinox(momentum, count, dtype):
    """The hidden values are rounded once more, but for count 0."""
    own = layer(dtype=dtype, count=count)
    arrays = to_equinox(*own, momentum=momentum)
    again = from_equinox(arrays, momentum=momentum)
    assert_close(again, own, 2e-7 if count else 0)
    assert_close(to_equinox(*again, momentum=momentum)["batch_state_index"], arrays["batch_state_index"], 2e-7)
    assert [part.dtype for part in jax.tree.leaves(again)] == [part.dtype for part in jax.tree.leaves(own)]


@pytest.mark.parametrize("count", [0, 1, 20, 1000])
def test_the_excess_of_equinox_is_what_its_start_leaves(count):
    mean, true = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.5, 2.0])
    left = 0.9**count
    pair = (mean * (1 - left), (true * (1 - left) + left).astype("float32"))
    arrays = {"batch_counter": np.array(count), "batch_state_index": pair}
    evaluated = from_equinox(arrays, momentum=0.9)[1]
    right = from_equinox(arrays, momentum=0.9, remove_excess=True)[1]
    if count == 0:
        assert_close((evaluated.mean, evaluated.var, right.var), (0 * mean, true * 0 + 1, true * 0 + 1), 0)
    else:
        assert_close((evaluated.mean, evaluated.var), (mean, true + left / (1 - left)), 1e-6)
        assert_close((right.mean, right.var), (mean, true), 2e-6)
        assert np.all(right.var >= 0)


@pytest.mark.parametrize("name", FOREIGN)
def test_back_and_forth(name):
    forth, back, _ = PAIRS[name]
    own = back(FOREIGN[name])
    again = forth(*own)
    assert jax.tree.structure(again) == jax.tree.structure(FOREIGN[name])
    assert_same(again, FOREIGN[name])
    np.testing.assert_array_equal(own[1].mean, C)
    np.testing.assert_array_equal(own[1].var, D)


@pytest.mark.parametrize("name", [*PAIRS, "equinox-batch"])
def test_arrays_are_copies_that_may_be_written_to(name):
    forth, back, _ = PAIRS.get(name, (to_equinox, from_equinox, True))
    own = layer()
    dicts = forth(*own)
    again = back(dicts)
    for array in jax.tree.leaves(dicts):
        if not isinstance(array, int):
            assert type(array) is np.ndarray
            array[...] = 0 if array.dtype != bool else ~array
    assert_same(own, layer())
    assert_same(again, layer())


def test_the_excess_is_removed_down_to_zero():
    """A constant feature, whose hidden variance was rounded to just less than the start leaves."""
    hidden = np.nextafter(np.float32(float(np.float32(0.9)) ** 20), np.float32(0))[None]
    arrays = {"batch_counter": np.array(20), "batch_state_index": (hidden, hidden)}
    assert from_equinox(arrays, momentum=0.9, remove_excess=True)[1].var == 0
