"""Ghost batch norm: groups of a batch, each normalised with statistics of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxbn import _checks, _phases
from jaxbn._affine import affine, apply_affine
from jaxbn._numbers import statistics_dtype
from jaxbn._phases import check, chosen, prepared, running
from jaxbn._pivoted import AxisName, Groups, at_hand, merge, of_batch, sync
from jaxbn._residuals import counted
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, State
from jaxbn.variants import _checks as own


def ghost_batch_norm(
    params: BatchNormParams,
    state: State,
    x: ArrayLike,
    train: ArrayLike,
    *,
    ghost_size: int,
    axis: int | Sequence[int] = -1,
    momentum: ArrayLike = 0.99,
    epsilon: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: Groups = None,
    averaging: Averaging = "ema",
    ddof: Literal[0, 1] = 0,
) -> tuple[jax.Array, State]:
    """Normalise each group of `ghost_size` examples by itself, and keep running statistics of all of them together.

    `y = scale * (x - mean) / sqrt(var + epsilon) + bias`, with mean and biased variance of the group in training, and
    the running ones in evaluation. The running statistics learn from the merged moments of all groups, which are those
    of the whole batch.

    A group is made of neighbours along axis 0. Where devices share that axis and each holds whole groups, as with
    `ghost_size = batch // devices`, nothing is sent for `y` or its gradient, and one message for the running
    statistics.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays, or what `accumulate` makes of it.
        x: `[examples, ..., features, ...]`, floating or complex, of any rank from 2 up.
        train: a bool, or a traced bool scalar.
        ghost_size: the examples of a group, at least 1; what is left over makes a smaller last group.
        axis: the feature axis, or several, none of them axis 0.
        momentum: the weight of the OLD running value, between 0 and 1.
        epsilon: added to the variance, at least 0.
        mask: `None`, or booleans or non-negative weights with as many dimensions as `x`, as in `batch_norm`.
        axis_name: a mapped axis or several over which the batch is spread; the groups are of this member's part, the
            running statistics of all parts.
        axis_index_groups: the members of that axis that share a batch, if not all of them do.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`, see `update_state`.
        ddof: 1 keeps the unbiased running variance, as PyTorch does.

    Returns:
        `(y, state)` as of `batch_norm`.

    Raises:
        TypeError: as in `batch_norm`, or `ghost_size` is not an int.
        ValueError: as in `batch_norm`, `ghost_size` is less than 1 or cuts across the devices of an explicitly sharded
            `x`, or axis 0 is a feature axis.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> params, state = init_batch_norm(1)
        >>> x = jnp.array([[1.0], [3.0], [10.0], [50.0]])
        >>> y, state = ghost_batch_norm(params, state, x, train=True, ghost_size=2, momentum=0.0, epsilon=0.0)
        >>> print(y[:, 0], state.mean, state.var)
        [-1.  1. -1.  1.] [16.] [396.5]

    Reference:
        Hoffer, Hubara and Soudry, "Train longer, generalize better: closing the generalization gap in large batch
        training of neural networks", NIPS 2017, algorithm 1.
    """
    rule: Any = {"momentum": momentum, "averaging": averaging, "ddof": ddof}
    x = _checks.data(x)
    axes: tuple[int, ...] = _checks.axes(axis, x.ndim)
    check(params, state, x, axes, epsilon=epsilon, axis_name=axis_name, axis_index_groups=axis_index_groups, **rule)
    train, weights = _checks.flag("train", train), _checks.mask(mask, x)
    size = own.ghost_size(ghost_size, x, axes)
    if train is False:
        return _phases.evaluate(params, state, x, weights, axes, epsilon), state

    grouped, weights = _grouped(x, weights, size)
    # The groups are one more feature axis.
    ordered = (0, *(a + 1 for a in sorted(axes)))
    wide = counted(grouped, weights).astype(statistics_dtype(x.dtype))
    batch = of_batch(ordered, grouped, wide, weights)
    whole = merge(at_hand(batch))
    if axis_name is not None:
        whole = sync(whole, axis_name, axis_index_groups)
    new_state = _phases.learned(state, whole, axes, **rule)

    center, var = batch.center, batch.var
    if train is not True:
        (center, var), new_state = chosen(train, ((center, var), new_state), (running(state, axes, batch), state))
    scale, bias = (None if p is None else jnp.broadcast_to(p, var.shape) for p in prepared(params, axes, wide.dtype))
    multiplier, shift = affine(scale, bias, center[0], var, epsilon)
    y = apply_affine(ordered, grouped, wide, weights, center, multiplier, shift)
    y = counted(y, weights).astype(x.dtype).reshape(y.shape[0] * y.shape[1], *x.shape[1:])
    return y[: x.shape[0]], new_state


def _grouped(x: jax.Array, weights: jax.Array | None, size: int) -> tuple[jax.Array, jax.Array | None]:
    """`[examples, ...]` -> `[groups, size, ...]`, neighbours together; what fills the last group has no weight."""
    examples = x.shape[0]
    if isinstance(examples, int):
        size = min(size, max(examples, 1))
    groups = max(-(-examples // size), 1)
    missing = groups * size - examples
    if weights is None and missing:
        weights = jnp.ones([1] * x.ndim, bool)

    def split(part: jax.Array) -> jax.Array:
        if missing:
            part = jnp.broadcast_to(part, (examples, *part.shape[1:]))
            part = jnp.pad(part, [(0, missing), *[(0, 0)] * (part.ndim - 1)])
        return part.reshape(groups, size, *part.shape[1:]) if part.shape[0] != 1 else part[None]

    return split(x), None if weights is None else split(weights)
