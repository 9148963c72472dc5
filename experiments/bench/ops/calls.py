"""One call of a layer of JAX, and many of them inside one compiled loop, as the bench of the op times them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench.opened import opened

# Of the step that scale and bias make in a loop, lest their gradients be left out.
RATE = 1e-6
Call = Callable[[], Any]


def learning(layer: Any, arrays: list[jax.Array], x: jax.Array, dy: jax.Array) -> Any:
    """Forward and backward: the arrays after a step, what is remembered, the output, the gradient of the data."""
    learnt = {i: a for i, a in enumerate(arrays) if jnp.issubdtype(a.dtype, jnp.inexact)}

    def of_learnt(learnt: dict[int, jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        y, *remembered = layer([learnt.get(i, a) for i, a in enumerate(arrays)], x)
        return y, remembered

    y, pull, remembered = jax.vjp(of_learnt, learnt, x, has_aux=True)
    slopes, dx = pull(dy.astype(y.dtype))
    moved = jax.tree.map(lambda a, slope: a + RATE * slope, learnt, slopes)
    return [moved.get(i, a) for i, a in enumerate(arrays)], remembered, y, dx


def jax_calls(norm: Any, mode: str, x: jax.Array, dy: jax.Array, repeats: int) -> tuple[Call, Call, int]:
    """One call, a compiled loop of `repeats`, and the bytes of temporary memory that the one call needs."""
    layer, arrays = opened(norm, x, train=mode != "evaluation")

    def call(arrays: list[jax.Array], _: Any, *given: jax.Array) -> Any:
        """The results are the next arguments."""
        if mode == "forward+backward":
            arrays, remembered, *found = learning(layer, arrays, *given)
        else:
            y, *remembered = layer(arrays, *given)
            found = [y]
        return arrays, remembered, *(value.astype(x.dtype) for value in found)

    data = (x, dy) if mode == "forward+backward" else (x,)
    shapes = jax.eval_shape(call, arrays, None, *data)[1]
    arguments = (arrays, [jnp.zeros(s.shape, s.dtype) for s in shapes], *data)
    once = jax.jit(call).lower(*arguments).compile()
    many = jax.jit(lambda *carry: jax.lax.fori_loop(0, repeats, lambda _, carry: call(*carry), carry))
    loop = many.lower(*arguments).compile()
    memory: Any = once.memory_analysis()
    return functools.partial(once, *arguments), functools.partial(loop, *arguments), memory.temp_size_in_bytes


def copy_calls(x: jax.Array, repeats: int) -> tuple[Call, Call]:
    """A copy, one by one and in a loop; the number that is added keeps the compiler from leaving it out."""
    one = jnp.ones((), x.dtype)
    once = jax.jit(lambda x, one: x + one).lower(x, one).compile()
    loop = jax.jit(lambda x, one: jax.lax.fori_loop(0, repeats, lambda _, x: x + one, x)).lower(x, one).compile()
    return functools.partial(once, x, one), functools.partial(loop, x, one)
