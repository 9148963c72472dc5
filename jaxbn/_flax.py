"""What both Flax layers do around the core, so that they are equal to the last bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks
from jaxbn._numbers import statistics_dtype
from jaxbn.normalization import BatchNormParams, batch_norm
from jaxbn.running import BatchNormState


def data(x: ArrayLike, dtype: DTypeLike | None) -> jax.Array:
    """The input as a floating or complex array, in its own dtype or in `dtype`, whichever is wider.

    A narrower `dtype` is applied to the output only, so that the statistics see all digits of the input.
    """
    if hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jnp.inexact):
        x = jnp.asarray(x, jnp.float32)
    x = _checks.data(x)
    if dtype is None:
        return x
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, _checks.float_dtype("dtype", dtype)))


def mask(mask: ArrayLike | None, x: jax.Array) -> ArrayLike | None:
    """A mask of fewer dimensions than the data gets leading axes of size 1, as in Flax, if it then fits."""
    shape = () if mask is None or isinstance(mask, str) else np.shape(mask)
    missing = x.ndim - len(shape)
    if mask is None or missing <= 0 or any(m not in (1, n) for m, n in zip(shape, x.shape[missing:], strict=True)):
        return mask
    return jnp.expand_dims(jnp.asarray(mask), range(missing))


def training(use_running_average: Any) -> bool | jax.Array:
    """Whether to train, as a Python bool wherever that is known."""
    evaluate = _checks.flag("use_running_average", use_running_average)
    return not evaluate if isinstance(evaluate, bool) else ~evaluate


def normalise(
    params: BatchNormParams,
    state: BatchNormState,
    x: jax.Array,
    train: bool | jax.Array,
    dtype: DTypeLike | None,
    **options: Any,
) -> tuple[jax.Array, BatchNormState]:
    """`batch_norm`, with the output in the dtype of the layer, on variables as they may come from Flax."""
    if any(jnp.iscomplexobj(part) for part in params if part is not None):
        x = data(x, jnp.complex64)
    # Flax's own may be in half precision, or be real until the first complex batch.
    mean, var = (part.astype(statistics_dtype(part.dtype)) for part in (state.mean, state.var))
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(mean):
        mean = lax.complex(mean, jnp.zeros_like(mean))
    state = state._replace(mean=mean, var=var)
    y, state = batch_norm(params, state, x, train, **options)
    return (y if dtype is None else y.astype(dtype)), state
