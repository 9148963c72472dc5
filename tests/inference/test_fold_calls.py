"""Norms are found in the functions that a net calls, and left alone in the bodies of loops and branches."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.inference.nets_fold import folded, norm, norm_variables, numbers


def test_across_jit_remat_and_custom_derivatives():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}

    def last(v, x):
        return norm(v, x)

    own = jax.custom_jvp(last)
    own.defjvp(lambda p, t: jax.jvp(last, p, t))
    other = jax.custom_vjp(last)
    other.defvjp(lambda v, x: (last(v, x), (v, x)), lambda r, g: jax.vjp(last, *r)[1](g))
    for wrapped in (jax.jit(last), jax.checkpoint(last), own, other, jax.jit(jax.checkpoint(own))):
        folded(
            lambda v, x, wrapped=wrapped: wrapped(v["norm"], jax.jit(jnp.matmul)(x, v["kernel"])),
            v,
            numbers(3, 4),
            into=1,
        )


def test_a_layer_with_a_way_of_its_own_to_be_mapped():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}

    @jax.custom_batching.custom_vmap
    def dense(k, x):
        return x @ k

    dense.def_vmap(lambda *_: None)
    folded(lambda v, x: norm(v["norm"], dense(v["kernel"], x)), v, numbers(3, 4), into=1)


def test_a_function_that_is_called_twice_is_not_confused():
    v = {"a": numbers(4, 4), "b": numbers(4, 4, seed=2), "norm": norm_variables(4), "other": norm_variables(4, seed=5)}
    layer = jax.jit(lambda kernel, n, x: jnp.tanh(norm(n, x @ kernel)))
    folded(lambda v, x: layer(v["b"], v["other"], layer(v["a"], v["norm"], x)), v, numbers(3, 4), into=2)


@pytest.mark.parametrize("kind", ["scan", "while", "cond"])
def test_bodies_are_left_alone(kind):
    v = {"kernel": numbers(4, 4), "norm": norm_variables(4)}

    def body(v, x):
        return norm(v["norm"], x @ v["kernel"])

    def f(v, x):
        if kind == "scan":
            return lax.scan(lambda x, _: (body(v, x), None), x, length=2)[0]
        if kind == "while":
            return lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, body(v, c[1])), (0, x))[1]
        return lax.cond(x[0, 0] > 0, functools.partial(body, v), jnp.tanh, x)

    _, _, report = folded(f, v, numbers(3, 4), into=0, kept=1, rooted=1)
    assert report.norms[0].kept == f"inside {kind}, whose body is left alone"
