"""What the folded function and its weights can do."""

import functools
import gc
import weakref

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.inference import fold
from tests.inference.nets_fold import X, conv, norm, norm_variables, numbers, primitives
from tests.tolerances import GRADIENT, assert_close

pytestmark = pytest.mark.slow

VARIABLES = {
    "one": {"kernel": numbers(3, 3, 4, 6), "bias": numbers(6, seed=2)},
    "two": {"kernel": numbers(6, 5, seed=3)},
    "norm": norm_variables(6),
    "kept": norm_variables(6, seed=2),
}


def f(v, x):
    y = conv(x, v["one"]["kernel"], window_strides=(2, 2)) + v["one"]["bias"].reshape(1, 1, 1, -1)
    y = norm(v["kept"], jax.nn.relu(norm(v["norm"], y)))
    return y.mean((1, 2)) @ v["two"]["kernel"]


@functools.cache
def parts():
    return fold(f, VARIABLES, X)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_other_batch_sizes(batch):
    function, weights, _ = parts()
    x = numbers(batch, 9, 9, 4, seed=batch)
    assert_close(function(weights, x), f(VARIABLES, x))


def test_other_image_sizes():
    function, weights, _ = parts()
    x = numbers(3, 12, 7, 4)
    assert_close(function(weights, x), f(VARIABLES, x))


def test_one_trace_per_shape():
    count = []

    def counted(v, x):
        count.append(x.shape)
        return f(v, x)

    function, weights, _ = fold(counted, VARIABLES, X)
    count.clear()
    for _ in range(3):
        function(weights, X)
        jax.jit(function)(weights, X)
    assert count == [X.shape]


def test_jit_vmap_and_derivatives():
    function, weights, _ = parts()
    assert_close(jax.jit(function)(weights, X), f(VARIABLES, X))
    stack = numbers(3, 2, 9, 9, 4)
    expected = jnp.stack([f(VARIABLES, x) for x in stack])
    assert_close(jax.vmap(function, (None, 0))(weights, stack), expected)
    many = jax.tree.map(lambda w: jnp.stack([w, w]), weights)
    assert_close(jax.vmap(function, (0, None))(many, X)[1], f(VARIABLES, X))
    gradient = [
        jax.grad(lambda x, g=g: g(x).sum())(X)
        for g in (functools.partial(function, weights), functools.partial(f, VARIABLES))
    ]
    assert_close(*gradient, tolerance=GRADIENT["float32"])
    assert jax.tree.structure(jax.grad(lambda w: function(w, X).sum())(weights)) == jax.tree.structure(weights)


def test_derivatives_that_were_written_stay():
    """That of relu at 0 is 0, and not that of a maximum, 1/2."""
    v = {"kernel": np.eye(3, dtype="float32"), "gamma": np.ones(3, "float32")}
    function, weights, _ = fold(lambda v, x: jax.nn.relu((x @ v["kernel"]) * v["gamma"][None]), v, numbers(2, 3))
    assert_close(jax.grad(lambda x: function(weights, x).sum())(jnp.zeros((2, 3))), jnp.zeros((2, 3)), tolerance=0)


def test_export_with_a_batch_of_any_size():
    function, weights, _ = parts()
    (batch,) = jax.export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 9, 9, 4), jnp.float32)
    structs = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype), weights)
    exported = jax.export.export(jax.jit(function))(structs, x)
    for size in (1, 5):
        x = numbers(size, 9, 9, 4, seed=size)
        assert_close(exported.call(weights, x), f(VARIABLES, x))


def test_weights_are_a_flat_dict_of_arrays():
    _, weights, _ = parts()
    assert {name: w.shape for name, w in weights.items()} == {
        "one/kernel": (3, 3, 4, 6),
        "one/bias": (6,),
        "kept/mean": (6,),
        "kept/multiplier": (6,),
        "kept/bias": (6,),
        "two/kernel": (6, 5),
    }
    assert {w.dtype for w in weights.values()} == {np.dtype("float32")}


def test_orbax_saves_the_weights(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    function, weights, _ = parts()
    with checkpoint.StandardCheckpointer() as saver:
        saver.save(tmp_path / "weights", weights)
        saver.wait_until_finished()
        loaded = saver.restore(tmp_path / "weights", jax.tree.map(jnp.zeros_like, weights))
    assert_close(function(loaded, X), function(weights, X), tolerance=0)


def test_the_variables_are_not_kept():
    v = jax.tree.map(jnp.asarray, VARIABLES)
    kernel = weakref.ref(v["one"]["kernel"])
    function, weights, _ = fold(f, v, X)
    del v
    gc.collect()
    assert kernel() is None
    assert_close(function(weights, X[:1]), f(VARIABLES, X[:1]))


def test_weights_of_others():
    """A net of the same shape and other numbers needs no new function."""
    function, _, _ = parts()
    other = jax.tree.map(lambda a: np.abs(a) + np.float32(0.5), VARIABLES)
    _, weights, _ = fold(f, other, X)
    assert_close(function(weights, X), f(other, X))


def test_known_parts_are_computed_once():
    function, weights, _ = parts()
    found = primitives(function, weights, X)
    assert not {"rsqrt", "sqrt"} & set(found)
    # The norm that stays is one difference, one product and one sum; the mean over places divides by a number.
    assert [found.count(name) for name in ("sub", "mul", "div")] == [1, 1, 1]


def test_trees_in_and_out():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}

    def g(v, x):
        y = norm(v["norm"], x["a"] @ v["kernel"])
        return {"y": y, "pair": (x["b"], y.argmax(-1))}

    x = {"a": numbers(3, 4), "b": np.arange(3)}
    function, weights, report = fold(g, v, x)
    assert len(report.folded) == 1
    assert_close(function(weights, x), g(v, x))
    assert jax.tree.structure(function(weights, x)) == jax.tree.structure(g(v, x))


def test_numbers_that_follow_the_batch_are_made_on_the_way():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}

    def g(v, x):
        y = norm(v["norm"], x @ v["kernel"])
        return y + jnp.arange(x.shape[0], dtype="float32")[:, None] * jnp.ones_like(y)

    function, weights, _ = fold(g, v, numbers(3, 4))
    assert sorted(weights) == ["kernel", "kernel_bias"]
    assert_close(function(weights, numbers(6, 4)), g(v, numbers(6, 4)))


def test_closures_have_the_names_of_their_variables():
    v = jax.tree.map(jnp.asarray, VARIABLES)
    function, weights, report = fold(lambda _, x: f(v, x), v, X)
    assert set(weights) == set(parts()[1])
    assert [n.name for n in report.norms] == ["norm", "kept"]
    assert_close(function(weights, X), f(v, X))
    function, weights, _ = fold(lambda _, x: f(v, x), (), X)
    assert all(name.startswith("constants/") for name in weights)
    assert_close(function(weights, numbers(5, 9, 9, 4)), f(v, numbers(5, 9, 9, 4)))


def test_what_is_no_array_stays_as_it_is():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5), "act": jnp.tanh, "name": "net", "flag": True, "size": 2}

    def g(v, x):
        y = norm(v["norm"], x @ v["kernel"])
        return v["act"](y) * v["size"] if v["flag"] else y

    with jax.numpy_dtype_promotion("standard"):
        function, weights, report = fold(g, v, numbers(3, 4))
        assert len(report.folded) == 1
        assert_close(function(weights, numbers(3, 4)), g(v, numbers(3, 4)))


def test_the_report_is_a_table():
    _, _, report = parts()
    *lines, last = str(report).splitlines()
    assert lines == [
        "norm  folded into conv one/kernel 3x3x4x6",
        "kept  kept: after relu, before reduce_sum",
    ]
    assert last.startswith("1 of 2 norms folded, 2 linear operations; largest difference ")
    assert last.endswith(" of the output, allowed 1e-05")
