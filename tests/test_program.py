"""What is traced is one program for every platform, and a lean one."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.extend import core

from jaxbn import batch_moments, batch_norm, init_batch_norm, normalize
from jaxbn.preprocess import fit_pca
from tests.data import noise
from tests.tolerances import assert_close

SHAPE = (16, 12, 12, 5)
PARAMS, STATE = init_batch_norm(5)
PLATFORMS = ["tpu", "cuda", "cpu"]
on_a_cpu = pytest.mark.skipif(
    "config.getoption('--plain') or jax.default_backend() != 'cpu'", reason="it is of the lowering for a CPU"
)


def train(params, state, x):
    return batch_norm(params, state, x, True)


def gradient(params, state, x):
    """With the output behind a loss that depends on it."""
    return jax.grad(lambda params, x: jnp.sum(jax.nn.relu(train(params, state, x)[0]) ** 2), (0, 1))(params, x)


def primitives(jaxpr):
    """The names of all, also inside of others."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: isinstance(v, core.Jaxpr | core.ClosedJaxpr)):
            if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
                yield from primitives(getattr(value, "jaxpr", value))


@functools.cache
def lowered(function, dtype, platform, shape=SHAPE):
    """The program of one platform, as text in StableHLO."""
    arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (PARAMS, STATE))
    exported = export.export(jax.jit(function), platforms=[platform])(*arguments, jax.ShapeDtypeStruct(shape, dtype))
    return exported.mlir_module()


def operations(text):
    """Pairs of an operation's name and the type of its first result."""
    return re.findall(
        r"= stablehlo\.(\w+).*?(?:-> |: )\(?(tensor<[^>]*>)(?:, tensor<[^>]*>)*\)?(?: loc.*)?$", text, re.M
    )


@pytest.mark.parametrize(
    "evaluate",
    [
        lambda x: batch_norm(PARAMS, STATE, x, False)[0],
        lambda x: batch_norm(PARAMS, STATE, x, False, mask=np.ones([*SHAPE[:-1], 1], bool))[0],
        lambda x: normalize(PARAMS, x, STATE.mean, STATE.var),
    ],
    ids=["batch_norm", "masked", "normalize"],
)
def test_evaluation_is_made_of_plain_operations(evaluate):
    """Any tool that reads programs knows them: no primitive of our own, nothing to be computed twice."""
    found = set(primitives(jax.make_jaxpr(evaluate)(noise(*SHAPE, mean=3)).jaxpr))
    known = {"sub", "mul", "add", "div", "sqrt", "gt", "select_n", "broadcast_in_dim", "convert_element_type"}
    assert "sub" in found
    assert found <= known | {"custom_jvp_call", "jit", "pjit", "reshape", "squeeze"}


@pytest.mark.parametrize("function", [train, gradient])
def test_the_trace_does_not_ask_for_devices(function, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("what is traced must not depend on the process")

    for name in ("device_count", "local_device_count", "devices", "local_devices", "default_backend"):
        monkeypatch.setattr(jax, name, refuse)
    jax.make_jaxpr(function)(PARAMS, STATE, noise(2, 3, 5))
    jax.make_jaxpr(fit_pca)(noise(5, 3))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("function", "sums"), [(train, 2), (gradient, 4)])
def test_each_pass_is_one_loop_over_the_batch(function, sums, dtype, platform):
    """Two sums forward and two backward, of what elementwise operations make; nothing is cut but for the pivot."""
    text, size = lowered(function, dtype, platform), "x".join(map(str, SHAPE))
    reductions = re.findall(rf"stablehlo\.reduce\(.*applies stablehlo\.add .*\(tensor<{size}xf32>", text)
    assert len(reductions) == sums
    assert len(re.findall("stablehlo.slice", text)) == 1
    assert "stablehlo.concatenate" not in text
    whole = {name for name, kind in operations(text) if size in kind}
    assert "subtract" in whole
    assert whole <= {
        "convert",
        "subtract",
        "multiply",
        "add",
        "maximum",
        "select",
        "compare",
        "broadcast_in_dim",
        "constant",
    }


def programs(shape):
    """Of a training step, the program of each platform without the places in the source."""
    return [re.sub(r"loc\(.*|#loc.*|module @.*", "", lowered(train, "float32", p, shape)) for p in PLATFORMS]


def test_the_program_is_the_same_on_every_platform_where_slabs_do_not_pay():
    tpu, cuda, cpu = programs((64, 32, 5))  # too few values for slabs, too many to be small
    assert tpu == cuda == cpu


@on_a_cpu
def test_only_the_sums_on_a_cpu_are_made_otherwise():
    tpu, cuda, cpu = programs((64, 80, 5))
    assert tpu == cuda
    # What is cut everywhere is for the pivot.
    assert [text.count("stablehlo.slice") > 1 for text in (tpu, cpu)] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("rest", [(8, 8, 5), (5,), (3, 5)])
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    "function", [train, gradient, lambda p, s, x: batch_norm(p, s, x, False), lambda _p, _s, x: batch_moments(x)]
)
def test_a_batch_of_unknown_size_can_be_exported(function, rest, platform):
    (batch,) = export.symbolic_shape("b")
    arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (PARAMS, STATE))
    program = export.export(jax.jit(function), platforms=[platform])
    exported = program(*arguments, jax.ShapeDtypeStruct((batch, *rest), "float32"))
    if platform == "cpu":
        for size in (1, 2, 7):
            x = noise(size, *rest, mean=3)
            got, expected = exported.call(PARAMS, STATE, x), jax.jit(function)(PARAMS, STATE, x)
            assert_close(got, expected, 2e-5)


def slabs(x):
    """The sizes of what is cut in a training step."""
    found = re.findall(r"stablehlo\.slice .*-> tensor<([\dx]+)xf32>", jax.jit(train).lower(PARAMS, STATE, x).as_text())
    return [math.prod(map(int, shape.split("x"))) for shape in found]


@on_a_cpu
def test_one_device_among_several_is_one_device():
    """Whatever the process sees, the bits are those of a process that sees one: of the same program."""
    x = noise(64, 80, 5)
    assert max(slabs(x)) == x.size // 8


@on_a_cpu
@pytest.mark.several_devices
@pytest.mark.parametrize(("length", "number"), [(64, None), (2048, 8)])
def test_devices_that_share_a_large_batch_add_slabs(length, number):
    mesh = jax.make_mesh((4,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jax.ShapeDtypeStruct((64, length, 5), "float32", sharding=jax.NamedSharding(mesh, jax.P("a")))
    # Each device has a pivot of its own, the median of three.
    assert max(slabs(x)) == (x.size // number if number else 4 * 3 * 5)
