"""Gradient accumulation: one update of the running statistics for all micro-batches of an optimiser's step."""

from __future__ import annotations

import jax.numpy as jnp

from jaxbn._pivoted import Pivoted
from jaxbn.running import AccumulatingState, BatchNormState
from jaxbn.variants import _checks as own


def accumulate(state: BatchNormState, micro_batches: int) -> AccumulatingState:
    """A state that learns once from several micro-batches, as from one batch that holds them all.

    `state = update_state(state, merge_moments(m_1, m_2))` at the second training call, if `micro_batches` is 2 and
    `m_1` and `m_2` are the moments of both; until then mean, variance and count stay. No digit is lost.

    Each micro-batch is normalised with statistics of its own. With `optax.MultiSteps(optimizer, micro_batches)`,
    weights and running statistics change in the same calls.

    Args:
        state: `BatchNormState` of `[features]` arrays.
        micro_batches: how many make an update, at least 1; a leaf of the result, which may be replaced at any time.

    Returns:
        `AccumulatingState`, which takes the place of the state in `batch_norm`, `ghost_batch_norm`, `batch_renorm` and
        `update_state`. A masked micro-batch counts by its weights, and an empty one as a call.

    Raises:
        TypeError: `state` is not a `BatchNormState`, or `micro_batches` is not an int.
        ValueError: `micro_batches` is less than 1.

    Example:
        >>> from jaxbn import batch_norm, init_batch_norm
        >>> params, state = init_batch_norm(1)
        >>> x = jnp.array([[1.0], [3.0], [10.0], [50.0]])
        >>> parts = accumulate(state, micro_batches=2)
        >>> for micro_batch in (x[:2], x[2:]):
        ...     y, parts = batch_norm(params, parts, micro_batch, train=True)
        >>> _, whole = batch_norm(params, state, x, train=True)
        >>> print(parts.mean, parts.var, parts.count, "as of the whole:", whole.mean, whole.var, whole.count)
        [0.16] [4.955] 1 as of the whole: [0.16] [4.955] 1

    Reference:
        Chan, Golub and LeVeque 1979, equation (2.1), as in `merge_moments`.
    """
    own.resting(state)
    number = own.positive_int("micro_batches", micro_batches)
    # Four arrays and not one four times, which could not be donated.
    nothing = Pivoted(*map(jnp.zeros_like, (state.mean, state.var, state.mean, state.var)))
    zero = jnp.zeros((), jnp.int32)
    return AccumulatingState(*state, nothing, zero, jnp.asarray(number, jnp.int32))
