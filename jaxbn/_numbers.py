"""Kinds of numbers: the precision of statistics, complex values, and weights."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax


def statistics_dtype(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype in which values of `dtype` are summed: at least single precision, complex for complex."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def real_parts(x: jax.Array) -> list[jax.Array]:
    """The one real array, or the two, that `x` is made of."""
    return [x.real, x.imag] if jnp.iscomplexobj(x) else [x]


def abs_square(x: jax.Array) -> jax.Array:
    """`|x|**2`, without the square root that `abs` takes of a complex number."""
    return functools.reduce(jnp.add, (lax.square(part) for part in real_parts(x)))


def is_valid(weights: jax.Array) -> jax.Array:
    """Where the weights, or the booleans, are above 0: a negative one counts as 0."""
    return weights if weights.dtype == jnp.bool_ else weights > 0
