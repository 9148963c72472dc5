"""From statistics to one product and one sum per value: what layers, evaluation and folding share."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxbn._reduce.plain import beside
from jaxbn._reduce.primitives import varying_alike
from jaxbn._residuals import expand


def affine(
    scale: jax.Array | None, bias: jax.Array | None, mean: jax.Array, var: jax.Array, epsilon: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """`(multiplier, shift)`, with which `y = (x - mean) * multiplier + shift`.

    Args:
        scale: `[features]`, of the dtype of `mean`, or `None`.
        bias: `[features]`, of the dtype of `mean`, or `None`.
        mean: `[features]`; of it only the dtype matters.
        var: `[features]`, real.
        epsilon: added to `var`.

    Returns:
        Two arrays `[features]`, of the dtype of `mean`.
    """
    inverse = _inverse_root(var + jnp.asarray(epsilon, var.dtype)).astype(mean.dtype)
    return inverse if scale is None else inverse * scale, jnp.zeros_like(mean) if bias is None else bias


@functools.partial(jax.jit, static_argnums=0, inline=True)
def apply_affine(
    axes: tuple[int, ...],
    x: jax.Array,
    wide: jax.Array,
    weights: jax.Array | None,
    center: tuple[jax.Array, jax.Array | None],
    multiplier: jax.Array,
    shift: jax.Array,
) -> jax.Array:
    """`(x - mean) * multiplier + shift`, in the precision of the mean.

    Args:
        axes: the feature axes, in ascending order.
        x: the batch.
        wide: what counts of it in the precision of the mean; see `of_batch`.
        weights: `None`, or booleans or weights that broadcast against `x`.
        center: the mean as pivot and offset, `[features]`; as one number, with `None`, it takes plain operations alone,
            which any tool that reads programs knows.
        multiplier: `[features]`.
        shift: `[features]`.
    """
    return _apply_affine(axes, x, wide, weights, center, multiplier, shift)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply_affine(axes: Any, x: Any, wide: Any, weights: Any, center: Any, multiplier: Any, shift: Any) -> jax.Array:
    pivot, offset = center
    if offset is not None:
        return expand(shift, multiplier, x, weights, (pivot, offset), axes)
    return (wide - beside(pivot, x, axes)) * beside(multiplier, x, axes) + beside(shift, x, axes)


def _jvp_of_apply(axes: Any, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, _, weights, center, multiplier, _ = primals
    _, wide_dot, _, center_dot, multiplier_dot, shift_dot = tangents
    y_dot = _solid(shift_dot)
    for part in center_dot:
        y_dot = y_dot if part is None or _is_zero(part) else y_dot - multiplier * part
    center = tuple(jnp.zeros_like(center[0]) if part is None else part for part in center)
    # By `expand`, so that `x` is kept for the backward pass, and not, in single precision, its deviations.
    y_dot = expand(y_dot, _solid(multiplier_dot), x, weights, center, axes)
    if not _is_zero(wide_dot):
        y_dot += beside(multiplier, x, axes) * wide_dot
    y, y_dot = varying_alike(_apply_affine(axes, *primals), y_dot)
    return y, y_dot


_apply_affine.defjvp(_jvp_of_apply, symbolic_zeros=True)


@jax.custom_jvp
def _inverse_root(x: jax.Array) -> jax.Array:
    """`1 / sqrt(x)`, and 0 at 0: with epsilon 0, equal values have no scale, and become 0 as with any other epsilon."""
    return jnp.where(x > 0, 1 / jnp.sqrt(x), 0)


@_inverse_root.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y = _inverse_root(*primals)
    # One factor after the other: the power itself may be too large or too small for a number.
    return y, -0.5 * (((tangents[0] * y) * y) * y)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _solid(tangent: Any) -> jax.Array:
    return jnp.zeros(tangent.aval.shape, tangent.aval.dtype) if _is_zero(tangent) else tangent
