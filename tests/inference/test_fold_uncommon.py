"""Programs that are no plain nets: random numbers, tables, ensembles, derivatives, effects, whole numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbn.inference import fold
from tests.inference.nets_fold import norm, norm_variables, numbers, primitives
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow

V = {"k": numbers(4, 5), "norm": norm_variables(5), "table": numbers(10, 4, seed=3), "key": jax.random.key(0)}
X = numbers(3, 4)


def layer(v, x):
    return norm(v["norm"], x @ v["k"])


def quantised(v, x):
    y = (x * 8).astype(np.int8) @ jnp.ones((4, 5), np.int8)
    return norm(v["norm"], y.astype("float32"))


def with_effects(v, x):
    jax.debug.callback(len, x)
    return layer(v, x)


def in_wider_numbers(v, x):
    y = jnp.dot(x.astype("bfloat16"), v["k"].astype("bfloat16"), preferred_element_type="float32")
    return norm(v["norm"], y)


# A program, its data, and how many norms go and stay.
PROGRAMS = {
    "of-one-example": (layer, X[:1], 1, 0),
    "known-random-numbers": (lambda v, x: layer(v, x) * jax.random.normal(v["key"], (1, 5)), X, 2, 0),
    "random-numbers-of-the-data": (
        lambda v, x: layer(v, x) + jax.random.normal(jax.random.fold_in(v["key"], x[0, 0].astype(int)), (3, 5)),
        X,
        1,
        0,
    ),
    "table": (lambda v, i: layer(v, v["table"][i]), np.int32([1, 2, 3]), 1, 0),
    "tied-table": (lambda v, i: layer(v, v["table"][i]) @ v["k"].T @ v["table"].T, np.int32([1, 2]), 1, 0),
    "vmap": (lambda v, x: jax.vmap(layer, (None, 0))(v, x), numbers(2, 3, 4), 1, 0),
    "ensemble": (
        lambda v, x: jax.vmap(lambda s: layer({**v, "k": v["k"] * s}, x))(jnp.float32([1, 2])),
        X,
        1,
        0,
    ),
    "derivative": (lambda v, x: jax.grad(lambda x: jnp.tanh(layer(v, x)).sum())(x), X, 2, 0),
    "mask": (lambda v, x: jnp.where(jnp.arange(3)[:, None] < 2, layer(v, x), jnp.float32(0)), X, 1, 0),
    "mean-before": (lambda v, x: norm(v["norm"], (x @ v["k"]).mean(1)), numbers(2, 3, 4), 0, 1),
    "whole-numbers": (quantised, X, 0, 1),
    "bytes": (
        lambda v, x: layer(v, (x.astype("float32") / 255.0 - v["table"][0][None]) / (v["table"][1][None] + 9.0)),
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        2,
        0,
    ),
    "stretched": (lambda v, x: layer(v, lax.mul(x, jnp.broadcast_to(v["table"][:1], (3, 4)))), X[:1], 1, 0),
    "stretched-after": (lambda v, x: lax.mul(layer(v, x), jnp.broadcast_to(v["table"][0, :1], (3, 5))), X[:1], 1, 0),
    "repeated-and-told-apart": (
        lambda v, x: jnp.broadcast_to(layer(v, x)[:, None], (3, 2, 5)) * v["table"][None, :2, :1],
        X,
        1,
        1,
    ),
    "effects": (with_effects, X, 1, 0),
    "wider-results": (in_wider_numbers, X, 1, 0),
    "nothing-to-do": (lambda _, x: x, X, 0, 0),
    "nothing-of-the-data": (lambda v, _: v["norm"], X, 0, 0),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_gives_the_same(name):
    f, x, into, kept = PROGRAMS[name]
    function, weights, report = fold(f, V, x)
    assert [len(report.folded), len(report.kept)] == [into, kept], str(report)
    assert_close(jax.jit(function)(weights, x), jax.jit(f)(V, x), tolerance=report.bound)


def test_effects_stay():
    function, weights, _ = fold(with_effects, V, X)
    assert "debug_callback" in primitives(function, weights, X)


def test_no_variables():
    function, weights, _ = fold(lambda _, x: jnp.tanh(x), None, X)
    assert weights == {}
    assert_close(function({}, X), jnp.tanh(X))


ORDERS = {
    "divided": lambda x, scale, bias, mean, var: (x - mean) / jnp.sqrt(var) * scale + bias,
    "product-first": lambda x, scale, bias, mean, var: scale * ((x - mean) * var**-0.5) + bias,
    "one-shift": lambda x, scale, bias, mean, var: x * (scale / jnp.sqrt(var)) + (bias - mean * scale / jnp.sqrt(var)),
    "negated": lambda x, scale, bias, mean, var: bias - (mean - x) * (scale * lax.rsqrt(var)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("after", ["layer", "relu"])
def test_a_norm_is_one_line_in_whatever_order_it_is_written(order, after):
    v = {"dense": {"kernel": numbers(4, 5), "bias": numbers(5, seed=2)}, "norm": norm_variables(5)}

    def f(v, x):
        x = x @ v["dense"]["kernel"] + v["dense"]["bias"][None]
        parts = (v["norm"][name][None] for name in ("scale", "bias", "mean", "var"))
        return ORDERS[order](x if after == "layer" else jax.nn.relu(x), *parts)

    function, weights, report = fold(f, v, X)
    (line,) = report.norms
    assert line.name == "norm"
    assert sorted(line.variables) == ["norm/bias", "norm/mean", "norm/scale", "norm/var"]
    assert (line.into is None) == (after == "relu")
    assert (line.kept is None) == (after == "layer")
    assert_close(function(weights, X), f(v, X))


def test_weak_types_give_way_as_they_did():
    v = {"k": jnp.asarray(numbers(4, 5), "bfloat16"), "size": jnp.asarray(2.0)}
    assert v["size"].weak_type
    with jax.numpy_dtype_promotion("standard"):
        function, weights, _ = fold(lambda v, x: (x @ v["k"]) * v["size"], v, jnp.asarray(X, "bfloat16"))
        assert function(weights, jnp.asarray(X, "bfloat16")).dtype == "bfloat16"
