"""The steps of everyone's layer, and what their programs move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from experiments.bench.ahead_of_time.targets import Target, compiled
from experiments.bench.opened import opened
from experiments.bench.peers import norms


def steps(norm: Any, x: Any) -> tuple[dict[str, Callable[..., Any]], list[jax.Array]]:
    """Training forward, and with the backward pass, as functions of the layer's arrays and the data; the arrays."""
    layer, arrays = opened(norm, x, train=True)

    def forward(arrays: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        y, *remembered = layer(arrays, x)
        # A layer's input that is also its output would be copied, which counts as moved bytes.
        return y.astype(x.dtype), [a for a in remembered if all(a is not given for given in arrays)]

    jaxpr = jax.make_jaxpr(forward)(arrays, x).jaxpr
    used = partial_eval.dce_jaxpr(jaxpr, [True] + [False] * (len(jaxpr.outvars) - 1))[1]
    # Running statistics have no part in the output, and no gradient.
    learnt = [i for i, a in enumerate(arrays) if used[i] and jnp.issubdtype(a.dtype, jnp.inexact)]

    def both(arrays: list[jax.Array], x: jax.Array) -> Any:
        def of_learnt(some: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            chosen = dict(zip(learnt, some, strict=True))
            return forward([chosen.get(i, a) for i, a in enumerate(arrays)], x)

        y, pull, remembered = jax.vjp(of_learnt, [arrays[i] for i in learnt], x, has_aux=True)
        # The next layer of a net reads the output from memory.
        y = jax.lax.optimization_barrier(y)
        return pull(jax.grad(lambda y: jnp.sum(jax.nn.relu(y).astype(jnp.float32) ** 2))(y)), remembered

    return {"forward": forward, "forward+backward": both}, arrays


def measure(shape: Sequence[int], dtype: str, target: Target, there: Any) -> list[dict[str, Any]]:
    """Everyone's numbers for either mode."""
    x = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    found: dict[str, dict[str, Any]] = {}
    # The layers are made on this machine, which one example of one pixel is enough for.
    for name, norm in norms([*(1 for _ in shape[1:]), shape[-1]]).items():
        functions, arrays = steps(norm, x)
        for mode, step in functions.items():
            found.setdefault(mode, {})[name] = compiled(step, (arrays, x), target, there)
    size = x.size * x.dtype.itemsize
    return [{"shape": list(shape), "dtype": dtype, "size": size, "mode": m, "layers": f} for m, f in found.items()]
