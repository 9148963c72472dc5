"""What both Flax layers do around the core, so that they are equal to the last bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks
from jaxbn.normalization import BatchNormParams, batch_norm
from jaxbn.running import BatchNormState


def data(x: ArrayLike, dtype: DTypeLike | None) -> jax.Array:
    """The input, floating or complex, in the wider of its own dtype and of that of the output.

    Wider at once, narrower only at the end: statistics see all the digits there are.
    """
    if hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jnp.inexact):
        x = jnp.asarray(x, jnp.float32)
    x = _checks.data(x)
    with jax.numpy_dtype_promotion("standard"):
        return x if dtype is None else x.astype(jnp.promote_types(x.dtype, dtype))


def mask(mask: ArrayLike | None, x: jax.Array) -> ArrayLike | None:
    """A mask of fewer dimensions than the data broadcasts from the left, as in NumPy and in Flax."""
    if isinstance(mask, jax.Array | np.ndarray) and mask.ndim < x.ndim:
        return jnp.expand_dims(mask, range(x.ndim - mask.ndim))
    return mask


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
    """`batch_norm`, with the output in the dtype of the layer."""
    y, state = batch_norm(params, state, x, train, **options)
    return (y if dtype is None else y.astype(dtype)), state
