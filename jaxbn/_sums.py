"""The sum over a batch, and its transpose: a number of each feature spread over the batch.

On one device they are a pair of linear primitives, each the transpose of the other, so that every derivative of any
order, forward and backward, is made of these two, and is as fast as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxbn._fold import alone, folded_sum


def total(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """Sum over some axes, which stay with size 1."""
    return total_of_tangent(values, reduced) if _whole(values) else _total_shared(values, tuple(reduced))


def total_of_tangent(values: jax.Array, reduced: Sequence[int]) -> jax.Array:
    """The same by primitives alone, so that it has a transpose."""
    return _total.bind(values, reduced=tuple(reduced)) if _whole(values) else jnp.sum(values, reduced, keepdims=True)


def spread(value: jax.Array, like: jax.Array) -> jax.Array:
    """`value`, of size 1 along some axes of `like`, as it takes part in arithmetic with it."""
    return _spread.bind(value, shape=like.shape) if _whole(like) else value


def _whole(values: jax.Array) -> bool:
    """Whether the values are on one device, and not in shards, even if it is one shard of explicitly sharded axes."""
    return alone() and not any(jax.typeof(values).sharding.spec)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _total_shared(values: jax.Array, reduced: tuple[int, ...]) -> jax.Array:
    return folded_sum(values, reduced)


@_total_shared.defjvp
def _(reduced: tuple[int, ...], values: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _total_shared(*values, reduced), total_of_tangent(*tangents, reduced)


def _apart(value: jax.Array) -> jax.Array:
    """The same numbers, computed once for each feature, and not anew for each value that they are combined with.

    XLA does not take a division into a loop that would repeat it.
    """
    return value if jnp.iscomplexobj(value) else value / jnp.where(value == value, jnp.ones_like(value), jnp.nan)


def _linear(function: Callable[..., jax.Array], parameter: str, shape: Callable[..., Sequence[int]]) -> Primitive:
    """A primitive for a function that is linear in one array and has a static parameter; `shape` is of the result."""
    primitive = Primitive(f"jaxbn_{function.__name__.strip('_')}")
    primitive.def_impl(jax.jit(function, static_argnames=parameter))
    primitive.def_abstract_eval(lambda x, **params: x.update(shape=shape(x.shape, **params), weak_type=False))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


def _spread_over(value: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(_apart(value), shape)


def _total_over(values: jax.Array, *, reduced: tuple[int, ...]) -> jax.Array:
    return folded_sum(values, reduced)


_spread: Primitive = _linear(_spread_over, "shape", lambda _, shape: shape)
_total: Primitive = _linear(
    _total_over, "reduced", lambda shape, reduced: tuple(1 if d in reduced else n for d, n in enumerate(shape))
)


def _transpose_of_spread(cotangent: jax.Array, value: Any, *, shape: tuple[int, ...]) -> list[jax.Array]:
    return [_total.bind(cotangent, reduced=tuple(d for d, n in enumerate(value.aval.shape) if n != shape[d]))]


def _transpose_of_total(cotangent: jax.Array, values: Any, **_: Any) -> list[jax.Array]:
    return [_spread.bind(cotangent, shape=values.aval.shape)]


def _batch_spread(values: Any, axes: Any, *, shape: tuple[int, ...]) -> tuple[jax.Array, int]:
    value = jnp.moveaxis(values[0], axes[0], 0)
    return _spread.bind(value, shape=(len(value), *shape)), 0


def _batch_total(values: Any, axes: Any, *, reduced: tuple[int, ...]) -> tuple[jax.Array, int]:
    return _total.bind(jnp.moveaxis(values[0], axes[0], 0), reduced=tuple(d + 1 for d in reduced)), 0


ad.deflinear2(_spread, _transpose_of_spread)
ad.deflinear2(_total, _transpose_of_total)
batching.primitive_batchers[_spread] = _batch_spread
batching.primitive_batchers[_total] = _batch_total
