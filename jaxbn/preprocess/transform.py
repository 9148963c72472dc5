"""What every fitted transform can do, whatever it was fitted to."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxbn import _checks
from jaxbn.preprocess import _checks as _own


class Transform(abc.ABC):
    """A pytree that was fitted to data; see `transform` and `inverse_transform`."""

    center: jax.Array
    axis: tuple[int, ...]

    @abc.abstractmethod
    def _forward(self, x: jax.Array) -> jax.Array: ...

    @abc.abstractmethod
    def _inverse(self, y: jax.Array) -> jax.Array: ...


def transform(t: Transform, x: ArrayLike) -> jax.Array:
    """Apply a fitted transform.

    `y = (x - center - rest) / spread + offset` after `fit_center`, `fit_standardize` and `fit_min_max`, and
    `y = (x - center - rest) @ components.T / spread` after `fit_pca` and `fit_whiten`.

    Args:
        t: as returned by a `fit_` function.
        x: `[..., features, ...]`, floating or complex, with the features that it was fitted to.

    Returns:
        An array of the dtype of `x`: of its shape, or `[..., components]` after `fit_pca` and PCA whitening.

    Raises:
        TypeError: `t` is no transform, or `x` is not floating or complex.
        ValueError: `x` has other features.

    Example:
        >>> from jaxbn.preprocess import fit_center, transform
        >>> x = jnp.array([[1.0], [2.0], [6.0]])
        >>> print(transform(fit_center(x), x)[:, 0])
        [-2. -1.  3.]

    Reference:
        That of the `fit_` function.
    """
    t, x, wide = _prepared(t, x, "x")
    return t._forward(wide).astype(x.dtype)


def inverse_transform(t: Transform, y: ArrayLike) -> jax.Array:
    """Undo a fitted transform.

    `inverse_transform(t, transform(t, x)) = x`, but for what was left out with the last components.

    Args:
        t: as returned by a `fit_` function.
        y: as returned by `transform`: `[..., features, ...]`, or `[..., components]`; floating or complex.

    Returns:
        An array of the dtype of `y` with the features that `t` was fitted to.

    Raises:
        TypeError: `t` is no transform, or `y` is not floating or complex.
        ValueError: `y` has other features.

    Example:
        >>> from jaxbn.preprocess import fit_center, inverse_transform
        >>> t = fit_center(jnp.array([[1.0], [2.0], [6.0]]))
        >>> print(inverse_transform(t, jnp.array([[-2.0], [0.0]]))[:, 0])
        [1. 3.]

    Reference:
        That of the `fit_` function.
    """
    t, y, wide = _prepared(t, y, "y")
    return t._inverse(wide).astype(y.dtype)


def _prepared(t: Transform, x: ArrayLike, name: str) -> tuple[Transform, jax.Array, jax.Array]:
    """The transform, the data as an array, and in the precision to compute in."""
    _own.is_transform(t, Transform)
    x = _checks.data(x, name)
    _own.as_complex_as(name, x, t.center)
    with jax.numpy_dtype_promotion("standard"):
        wide = x.astype(jnp.promote_types(x.dtype, t.center.dtype))
    # Behind a barrier: of two known numbers to subtract one after the other, the compiler makes one, and rounds it.
    return lax.optimization_barrier(t), x, wide
