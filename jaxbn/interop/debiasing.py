"""Averages that start at 0 and are divided by what their weights sum up to, as Haiku and Equinox keep them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbn.interop import _checks


def debiased_momentum(decay: ArrayLike, count: ArrayLike) -> jax.Array:
    """The momentum with which `batch_norm` follows a debiased average, as Haiku and Equinox keep it.

    `m_t = decay * (1 - decay**t) / (1 - decay**(t + 1))` with `t = count`: 0 at first, then rising to `decay`.

    Args:
        decay: what the other framework calls decay rate or momentum, at least 0 and less than 1; a real scalar.
        count: the training updates seen, `state.count`; an integer scalar.

    Returns:
        `m_t`, a float32 scalar (float64 with 64-bit types enabled), for `batch_norm(..., momentum=m_t)`.

    Raises:
        TypeError: `decay` is not real, or `count` not an integer.
        ValueError: `decay` is out of its range.

    Example:
        >>> from jaxbn import batch_norm, init_batch_norm
        >>> params, state = init_batch_norm(1)
        >>> for x in [[2.0], [6.0]], [[8.0], [16.0]]:
        ...     momentum = debiased_momentum(0.75, state.count)
        ...     y, state = batch_norm(params, state, jnp.array(x), True, momentum=momentum)
        ...     print(f"{momentum:.4f} {state.mean[0]:.4f}")
        0.0000 4.0000
        0.4286 8.5714

    Reference:
        Kingma and Ba, "Adam", ICLR 2015, section 3; `haiku/_src/moving_averages.py`.
    """
    _checks.decay("decay", decay)
    _checks.whole("count", count)
    dtype = jnp.result_type(float)
    decay = jnp.asarray(decay, dtype)
    updates = jnp.maximum(jnp.asarray(count), 1).astype(dtype)
    # 1 - decay**t loses its digits where decay is near 1 and t small; decay - 1 is exact there.
    log = jnp.log1p(decay - 1)
    return jnp.where(jnp.asarray(count) > 0, decay * jnp.expm1(updates * log) / jnp.expm1((updates + 1) * log), 0)


def weight_of_batches(decay: float, count: int, dtype: np.dtype) -> float:
    """`1 - decay**count`: what the weights of `count` batches sum up to, the rest is that of the start."""
    # The frameworks round the decay to the dtype of the average, and then divide by what its rounded powers leave.
    return 1 - float(np.asarray(decay, dtype)) ** count
