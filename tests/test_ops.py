"""What holds for every operation, whatever it computes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn
from jaxbn import variants
from tests.data import noise
from tests.ops_table import OPS
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

every_op = pytest.mark.parametrize("op", OPS, ids=repr)


def data(dtype="float32", members=None):
    shape = (6, 4, 3) if members is None else (members, 6, 4, 3)
    return jnp.asarray(noise(*shape, mean=1, std=2, dtype=dtype))


def inexact(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]


@every_op
def test_plain_is_the_definition(op):
    x = data()
    assert_close(op.call(x), op.reference(np.asarray(x)), TOLERANCE["float32"])


@every_op
def test_jit_is_the_definition_and_compiles_once(op):
    traces = []

    @jax.jit
    def call(x):
        traces.append(x)
        return op.call(x)

    for x in (data(), 2 * data()):
        assert_close(call(x), op.reference(np.asarray(x)), TOLERANCE["float32"])
    assert len(traces) == 1


@every_op
def test_double_precision_keeps_all_digits(op):
    with jax.enable_x64(True):
        x = data().astype("float64") + 1e-9
        got = jax.jit(op.call)(x)
    assert_close(got, op.reference(np.asarray(x)))
    # A state stays in the precision that it has.
    assert inexact(got)[0].dtype == ("float32" if op.name == "update_state" else "float64")


@every_op
def test_vmap_is_a_loop(op):
    xs = data(members=2)
    looped = [op.reference(np.asarray(x)) for x in xs]
    mapped = jax.jit(jax.vmap(op.call))(xs)
    assert_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *looped), TOLERANCE["float32"])


@every_op
def test_gradient_is_that_of_the_definition(op):
    x = np.asarray(data())
    random = np.random.default_rng(1)
    outputs = inexact(jax.eval_shape(op.call, x))
    weights = [random.normal(size=leaf.shape) for leaf in outputs]
    carried = [w * (i < op.carrying) for i, w in enumerate(weights)]

    def loss(x):
        parts = zip(inexact(op.call(x)), weights, strict=True)
        return sum(jnp.sum(leaf * jnp.asarray(w, "float32")) for leaf, w in parts)

    def difference(i, step=1e-6):
        shifted = np.zeros(x.shape)
        shifted[i] = step
        above, below = (inexact(op.reference(v)) for v in (x + shifted, x - shifted))
        return sum(np.sum((a - b) * w) for a, b, w in zip(above, below, carried, strict=True)) / (2 * step)

    expected = np.array([difference(i) for i in np.ndindex(x.shape)]).reshape(x.shape)
    assert_close(jax.jit(jax.grad(loss))(x), expected, GRADIENT["float32"])


@every_op
def test_bfloat16_loses_only_the_rounding_of_the_output(op):
    x = data("bfloat16")
    got = jax.jit(op.call)(x)
    dtypes = {str(leaf.dtype) for leaf in inexact(got)}
    assert dtypes <= ({"bfloat16"} if op.name == "normalize" else {"float32", "bfloat16"})
    wanted = jax.tree.leaves(op.reference(np.asarray(x, "float32")))
    for leaf, expected in zip(jax.tree.leaves(got), wanted, strict=True):
        assert_close(leaf, expected, TOLERANCE["bfloat16" if leaf.dtype == jnp.bfloat16 else "float32"])


def test_every_public_function_has_a_row():
    rooms = vars(jaxbn) | vars(variants)
    public = {n for n, f in rooms.items() if inspect.isfunction(f) and not n.startswith(("init_", "check_"))}
    assert public == {op.name.split("-")[0] for op in OPS}
