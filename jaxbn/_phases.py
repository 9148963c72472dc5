"""What every norm here does alike: check, evaluate, learn from a batch, and choose by a flag while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks
from jaxbn._affine import affine, apply_affine
from jaxbn._layout import as_given, ascending, shared_alike
from jaxbn._numbers import statistics_dtype
from jaxbn._pivoted import AxisName, Groups, Pivoted
from jaxbn._residuals import counted
from jaxbn.moments import rounded
from jaxbn.running import AccumulatingState, Averaging, BatchNormState, State, accumulated, update_state

if TYPE_CHECKING:
    from jaxbn.normalization import BatchNormParams

T = TypeVar("T")
AnyState = BatchNormState | AccumulatingState
Statistics = tuple[tuple[jax.Array, jax.Array], jax.Array]


def check(
    params: BatchNormParams,
    state: AnyState,
    x: jax.Array,
    axes: Sequence[int],
    *,
    epsilon: ArrayLike,
    axis_name: AxisName | None,
    axis_index_groups: Groups,
    momentum: ArrayLike,
    averaging: Averaging,
    ddof: int,
) -> None:
    """What every norm is given beside `x`, its axes, its flag and its mask."""
    _checks.fits(params, state, x, axes)
    _checks.momentum(momentum)
    _checks.epsilon(epsilon)
    _checks.groups_need_axis(axis_index_groups, axis_name)
    _checks.update_rule(averaging, ddof)


def evaluate(
    params: BatchNormParams,
    state: AnyState,
    x: jax.Array,
    weights: jax.Array | None,
    axes: Sequence[int],
    epsilon: ArrayLike,
) -> jax.Array:
    """Normalise with the running statistics, by plain operations alone."""
    wide = counted(x, weights).astype(statistics_dtype(x.dtype))
    mean, var = ascending(state.mean, axes).astype(wide.dtype), ascending(state.var, axes).astype(wide.real.dtype)
    scale, bias = prepared(params, axes, wide.dtype)
    multiplier, shift = affine(scale, bias, mean, var, epsilon)
    y = apply_affine(tuple(sorted(axes)), x, wide, weights, (mean, None), multiplier, shift)
    return counted(y, weights).astype(x.dtype)


def prepared(params: BatchNormParams, axes: Sequence[int], dtype: DTypeLike) -> Sequence[Any]:
    """Scale and bias in the order of the data, and in the precision of the statistics."""
    return [None if p is None else ascending(p, axes).astype(dtype) for p in params]


def learned(
    state: State,
    batch: Pivoted,
    axes: Sequence[int],
    *,
    momentum: ArrayLike,
    averaging: Averaging,
    ddof: Any,
) -> State:
    """The running statistics after this batch."""
    batch = jax.tree.map(lambda part: as_given(part, axes), batch)
    if isinstance(state, AccumulatingState):
        return accumulated(state, batch, momentum=momentum, averaging=averaging, ddof=ddof)
    return update_state(state, rounded(batch), momentum=momentum, averaging=averaging, ddof=ddof)


def running(state: AnyState, axes: Sequence[int], like: Pivoted) -> Statistics:
    """Center and variance as those of a batch: in their order, precision and shape."""
    mean, var = (jnp.broadcast_to(ascending(part, axes), like.m2.shape) for part in (state.mean, state.var))
    return (mean.astype(like.pivot.dtype), jnp.zeros_like(like.offset)), var.astype(like.m2.dtype)


def chosen(train: jax.Array, trained: T, evaluated: T) -> T:
    """What a flag chooses that is known only while the program runs."""
    return jax.tree.map(lambda a, b: jnp.where(train, *shared_alike(a, b)), trained, evaluated)
