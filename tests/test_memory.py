"""The backward pass keeps the caller's own `x` and mask, and besides them only as much as there are features."""

import contextlib
import functools
import io
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from jaxbn import batch_norm, init_batch_norm
from tests.data import noise
from tests.tolerances import assert_same

pytestmark = pytest.mark.optimized

FEATURES = 5
SHAPE = (8, FEATURES, 5, 16)
PARAMS, STATE = init_batch_norm(FEATURES)
every_dtype = pytest.mark.parametrize(("dtype", "name"), [("float32", "f32"), ("bfloat16", "bf16")])
every_mask = pytest.mark.parametrize("masked", [False, True])
both_modes = pytest.mark.parametrize("train", [True, False])
every_flag = pytest.mark.parametrize("train", [True, False, "traced"])


def arguments(dtype, masked, train):
    """`batch_norm` as a function of the parameters and the data, the data, and the mask that it uses."""
    mask = jnp.ones([SHAPE[0], 1, *SHAPE[2:]], bool) if masked else None
    flag = jnp.asarray(True) if train == "traced" else train

    def y(params, x):
        return batch_norm(params, STATE, x, flag, axis=1, mask=mask)[0]

    return y, jnp.ones(SHAPE, dtype), mask


def larger_than_the_features(shapes):
    return sorted((name, shape) for name, shape in shapes if math.prod(shape) > FEATURES)


def printed(function, *args):
    """What `print_saved_residuals` prints, as names of dtypes and shapes."""
    with contextlib.redirect_stdout(io.StringIO()) as lines:
        print_saved_residuals(function, *args)
    found = [re.match(r"(\w+)\[([\d,]*)\] ", line) for line in lines.getvalue().splitlines()]
    assert all(found)
    return [(m[1], tuple(int(n) for n in m[2].split(",") if n)) for m in found]


@every_dtype
@every_mask
@every_flag
def test_what_is_kept(dtype, name, masked, train):
    y, x, mask = arguments(dtype, masked, train)
    own = [(name, SHAPE)] + ([] if mask is None else [("bool", mask.shape)])
    for function in (y, lambda params, x: 3 * y(params, x)):
        assert larger_than_the_features(printed(function, PARAMS, x)) == larger_than_the_features(own)


@every_dtype
@every_mask
@every_flag
@pytest.mark.parametrize("transform", [jax.vjp, jax.linearize])
def test_bytes_that_are_kept(dtype, name, masked, train, transform):
    y, x, mask = arguments(dtype, masked, train)
    kept = jax.tree.leaves(jax.eval_shape(lambda *args: transform(jax.jit(y), *args)[1], PARAMS, x))
    own = x.nbytes + (0 if mask is None else mask.nbytes)
    assert own <= sum(part.size * part.dtype.itemsize for part in kept) <= own + 13 * 4 * FEATURES


@every_dtype
@every_mask
def test_every_layer_keeps_its_input(dtype, name, masked):
    """Of two layers with an exponential in between, two arrays: no output, and no deviation from a mean."""
    y, x, _ = arguments(dtype, masked, train=True)
    kept = printed(lambda params, x: y(params, jnp.exp(y(params, x))), PARAMS, x)
    assert [part for part in larger_than_the_features(kept) if part[0] == name] == [(name, SHAPE)] * 2


@both_modes
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_shapes_are_known_without_a_run(dtype, train):
    params, state = init_batch_norm(64, dtype=dtype)
    x = jax.ShapeDtypeStruct((2**20, 1000, 1000, 64), dtype)
    y, new = jax.eval_shape(lambda x: batch_norm(params, state, x, train), x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert [(p.shape, p.dtype) for p in new] == [(p.shape, p.dtype) for p in state]


@both_modes
def test_a_state_may_be_donated(train):
    x, (params, state) = noise(6, 3), init_batch_norm(3)
    step = functools.partial(batch_norm, params, x=x, train=train, momentum=0.5)
    expected = jax.tree.map(np.array, jax.jit(step)(state))
    assert_same(jax.jit(step, donate_argnums=0)(state), expected)
    assert all(part.is_deleted() for part in state)
