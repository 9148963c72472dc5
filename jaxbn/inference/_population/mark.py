"""A mark in a traced program: here a batch norm takes its input, and normalises it with these statistics.

It is an operation that returns its first operand. It survives every transformation of JAX, so that an interpreter finds
it wherever the call was made, also in a function that is jitted, mapped, scanned or rematerialised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

mark_p = Primitive("jaxbn_input")


class Settings(NamedTuple):
    """What a batch norm says of itself, as far as the call knows it.

    Attributes:
        epsilon: added to the variance, or `None`.
        momentum: the weight of the OLD value in training, or `None`.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`.
    """

    epsilon: float | None = None
    momentum: float | None = None
    averaging: str = "ema"


def mark(
    x: jax.Array,
    weights: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    axes: Sequence[int],
    settings: Settings,
) -> jax.Array:
    """`x` as it is.

    Args:
        x: the input of a batch norm.
        weights: `None`, or booleans or weights with as many dimensions as `x`, broadcastable to it.
        mean: the running mean that it is normalised with, `[features]`.
        var: the running variance, `[features]`.
        axes: the feature axes, at least 0, in the order of the features of `mean`.
        settings: of the batch norm.
    """
    operands = [x, mean, var, *([] if weights is None else [weights])]
    return mark_p.bind(*operands, axes=tuple(axes), settings=settings)


@mark_p.def_impl
def _(x: Any, *_: Any, **__: Any) -> Any:
    return x


@mark_p.def_abstract_eval
def _(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    return mark_p.bind(*primals, **params), tangents[0]


def _batch(operands: Any, dims: Any, *, axes: tuple[int, ...], settings: Settings) -> tuple[Any, int]:
    """Members with statistics of their own are one more feature axis; else all members are one batch."""
    size = next(o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None)

    def members(operand: Any, dim: int | None) -> Any:
        return jnp.broadcast_to(operand, (size, *operand.shape)) if dim is None else jnp.moveaxis(operand, dim, 0)

    x, mean, var, *weights = operands
    own = dims[1] is not None or dims[2] is not None
    if own:
        mean, var = members(mean, dims[1]), members(var, dims[2])
    weights = [members(w, d) for w, d in zip(weights, dims[3:], strict=True)]
    axes = (*([0] if own else []), *(a + 1 for a in axes))
    return mark_p.bind(members(x, dims[0]), mean, var, *weights, axes=axes, settings=settings), 0


ad.primitive_jvps[mark_p] = _jvp
batching.primitive_batchers[mark_p] = _batch
mlir.register_lowering(mark_p, lambda _ctx, x, *_, **__: [x])
