"""Batch renormalization: in training the outputs are nearly those of evaluation, however small the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxbn import _checks, _phases
from jaxbn._affine import affine, apply_affine
from jaxbn._numbers import statistics_dtype
from jaxbn._phases import Statistics, check, chosen, prepared, running
from jaxbn._pivoted import AxisName, Groups, Pivoted, of_batch, sync
from jaxbn._residuals import counted
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, State
from jaxbn.variants import _checks as own


def batch_renorm(
    params: BatchNormParams,
    state: State,
    x: ArrayLike,
    train: ArrayLike,
    *,
    r_max: ArrayLike,
    d_max: ArrayLike,
    axis: int | Sequence[int] = -1,
    momentum: ArrayLike = 0.99,
    epsilon: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: Groups = None,
    averaging: Averaging = "ema",
    ddof: Literal[0, 1] = 0,
) -> tuple[jax.Array, State]:
    """`batch_norm`, in training corrected towards the running statistics, within limits.

    `y = scale * ((x - mean) / sigma * r + d) + bias`, with `sigma = sqrt(var + epsilon)`,
    `r = clip(sigma / running_sigma, 1 / r_max, r_max)` and
    `d = clip((mean - running_mean) / running_sigma, -d_max, d_max)`, through which no gradient flows.

    With `r_max=1, d_max=0` it is `batch_norm`; without limits (`inf`) its output is that of evaluation, and its
    gradient still that of a batch norm. The paper starts with the former and widens the limits as it trains.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays, or what `accumulate` makes of it. The running average is that
            of the variance, as in `batch_norm`, and not of its root, as in the paper: a net may change between both.
        x: `[..., features, ...]`, floating or complex, of any rank from 1 up.
        train: a bool, or a traced bool scalar.
        r_max: a real scalar, at least 1. It may be traced: a schedule changes it without compiling anew.
        d_max: a real scalar, at least 0; of complex data, the limit of the absolute value. It may be traced.
        axis: the feature axis, or several, as in `batch_norm`.
        momentum: the weight of the OLD running value, between 0 and 1.
        epsilon: added to the variance, at least 0.
        mask: `None`, or booleans or non-negative weights with as many dimensions as `x`, as in `batch_norm`.
        axis_name: a mapped axis or several over which the batch is spread.
        axis_index_groups: the members of that axis that share a batch, if not all of them do.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`, see `update_state`.
        ddof: 1 keeps the unbiased running variance, as PyTorch does.

    Returns:
        `(y, state)` as of `batch_norm`.

    Raises:
        TypeError: as in `batch_norm`, or a limit is no number.
        ValueError: as in `batch_norm`, or a limit is too small; a limit that is an array of JAX is not looked at.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> params, state = init_batch_norm(1)
        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, _ = batch_renorm(params, state, x, train=True, r_max=3.0, d_max=5.0, epsilon=0.0)
        >>> print(y[:, 0])  # the running mean is 0, and the running variance 1
        [1. 3.]

    Reference:
        Ioffe, "Batch renormalization: towards reducing minibatch dependence in batch-normalized models", NIPS 2017,
        algorithm 1.
    """
    rule: Any = {"momentum": momentum, "averaging": averaging, "ddof": ddof}
    x = _checks.data(x)
    axes = _checks.axes(axis, x.ndim)
    check(params, state, x, axes, epsilon=epsilon, axis_name=axis_name, axis_index_groups=axis_index_groups, **rule)
    train, weights = _checks.flag("train", train), _checks.mask(mask, x)
    own.limit("r_max", r_max, 1)
    own.limit("d_max", d_max, 0)
    if train is False:
        return _phases.evaluate(params, state, x, weights, axes, epsilon), state

    ordered, wide = tuple(sorted(axes)), counted(x, weights).astype(statistics_dtype(x.dtype))
    batch = of_batch(ordered, x, wide, weights)
    if axis_name is not None:
        batch = sync(batch, axis_name, axis_index_groups)
    new_state = _phases.learned(state, batch, axes, **rule)

    center, var = batch.center, batch.var
    old: Statistics = running(state, axes, batch)
    r, d = _corrections(batch, old, epsilon, r_max, d_max)
    if train is not True:
        evaluated = *old, jnp.ones_like(r), jnp.zeros_like(d)
        (center, var, r, d), new_state = chosen(train, ((center, var, r, d), new_state), (evaluated, state))
    scale, bias = prepared(params, axes, wide.dtype)
    multiplier, shift = affine(scale, bias, center[0], var, epsilon)
    shift = shift + (d if scale is None else scale * d)
    y = apply_affine(ordered, x, wide, weights, center, multiplier * r.astype(multiplier.dtype), shift)
    return counted(y, weights).astype(x.dtype), new_state


def _corrections(
    batch: Pivoted, old: Statistics, epsilon: ArrayLike, r_max: ArrayLike, d_max: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """`r`, real, and `d`: from the statistics of the batch to the running ones."""
    (mean, _), var = old
    r_max, d_max = (jnp.asarray(limit, var.dtype) for limit in (r_max, d_max))
    inverse, _ = affine(None, None, var, var, epsilon)
    r = jnp.sqrt(batch.var + jnp.asarray(epsilon, var.dtype)) * inverse
    # Where squares overflow, what is multiplied by it is 0, as in `batch_norm`.
    r = jnp.where(batch.var < jnp.inf, r, 1)
    # The pivot first, for it is near: how far the means lie apart is known to the last digit.
    d = ((batch.pivot - mean) + batch.offset) * inverse.astype(mean.dtype)
    size = jnp.abs(d)
    within = jnp.minimum(size, d_max) / jnp.where(size > 0, size, 1)
    return lax.stop_gradient((jnp.clip(r, 1 / r_max, r_max), d * within.astype(d.dtype)))
