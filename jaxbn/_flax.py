"""What both Flax layers do around the core, so that they are equal to the last bit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks
from jaxbn._numbers import statistics_dtype
from jaxbn._pivoted import Pivoted
from jaxbn.normalization import BatchNormParams, batch_norm
from jaxbn.running import AccumulatingState, Averaging, BatchNormState
from jaxbn.variants import _checks as own
from jaxbn.variants import batch_renorm, ghost_batch_norm

# Of batch renormalization: a number, traced or not, or a schedule of the updates that the layer has seen.
Limit = ArrayLike | Callable[[jax.Array], ArrayLike] | None

_PENDING = (*(f"pending_{part}" for part in Pivoted._fields), "pending_batches")


def data(x: ArrayLike, dtype: DTypeLike | None) -> jax.Array:
    """The input as a floating or complex array, in its own dtype or in `dtype`, whichever is wider.

    A narrower `dtype` is applied to the output only, so that the statistics see all digits of the input.
    """
    if _checks.is_array(x, jnp.integer, jnp.bool_):
        x = jnp.asarray(x, jnp.float32)
    x = _checks.data(x)
    if dtype is None:
        return x
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, _checks.float_dtype("dtype", dtype)))


def mask(mask: ArrayLike | None, x: jax.Array) -> ArrayLike | None:
    """A mask of fewer dimensions than the data gets leading axes of size 1, as in Flax, if it then fits."""
    if mask is None:
        return None
    mask = _checks.weights(mask)
    missing = x.ndim - mask.ndim
    if missing <= 0 or any(m not in (1, n) for m, n in zip(mask.shape, x.shape[missing:], strict=True)):
        return mask
    return jnp.expand_dims(mask, range(missing))


def random(name: str, value: Any) -> None:
    if not callable(getattr(value, "params", None)):
        raise TypeError(f"`{name}` must give keys, got {type(value).__name__}; pass {name}=nnx.Rngs(0).")


def training(use_running_average: Any, remedy: str = "") -> bool | jax.Array:
    """Whether to train, as a Python bool wherever that is known."""
    evaluate = _checks.flag("use_running_average", use_running_average, remedy)
    return not evaluate if isinstance(evaluate, bool) else ~evaluate


def further(averaging: Averaging, r_max: Limit, d_max: Limit, micro_batches: int) -> tuple[str, ...]:
    """What a layer with these options keeps beside mean and variance."""
    _checks.update_rule(averaging, 0)
    micro_batches = own.positive_int("micro_batches", micro_batches)
    counts = averaging != "ema" or callable(r_max) or callable(d_max)
    return (("count",) if counts else ()) + (_PENDING if micro_batches > 1 else ())


def nothing(name: str, mean: jax.Array, members: tuple[int, ...] = ()) -> jax.Array:
    """What it is at first, beside this mean; of the members of an ensemble, whose statistics have leading axes."""
    if name in ("count", "pending_batches"):
        return jnp.zeros(members, jnp.int32)
    return jnp.zeros_like(mean if name in ("pending_pivot", "pending_offset") else mean.real)


def to_state(values: Mapping[str, jax.Array], micro_batches: int) -> Any:
    """The state of the core, of the values by name."""
    count = values.get("count", jnp.zeros((), jnp.int32))
    state = BatchNormState(values["mean"], values["var"], count)
    if own.positive_int("micro_batches", micro_batches) == 1:
        return state
    *pending, seen = (values[name] for name in _PENDING)
    return AccumulatingState(*state, Pivoted(*pending), seen, jnp.asarray(micro_batches, jnp.int32))


def from_state(state: Any) -> dict[str, jax.Array]:
    """The inverse of `to_state`."""
    values = {"mean": state.mean, "var": state.var, "count": state.count}
    if isinstance(state, AccumulatingState):
        values |= dict(zip(_PENDING, (*state.pending, state.seen), strict=True))
    return values


def normalise(
    params: BatchNormParams,
    state: Any,
    x: jax.Array,
    train: bool | jax.Array,
    dtype: DTypeLike | None,
    *,
    ghost_size: int | None,
    r_max: Limit,
    d_max: Limit,
    **options: Any,
) -> tuple[jax.Array, Any]:
    """One of the norms, with the output in the dtype of the layer, on variables as they may come from Flax."""
    if any(jnp.iscomplexobj(part) for part in params if part is not None):
        x = data(x, jnp.complex64)
    _checks.statistic("mean", state.mean)
    _checks.statistic("var", state.var)
    # Flax's own may be in half precision, or be real until the first complex batch.
    mean, var = (part.astype(statistics_dtype(part.dtype)) for part in (state.mean, state.var))
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(mean):
        mean = lax.complex(mean, jnp.zeros_like(mean))
    norm = _norm(ghost_size, r_max, d_max, state.count)
    y, state = norm(params, state._replace(mean=mean, var=var), x, train, **options)
    return (y if dtype is None else y.astype(dtype)), state


def _norm(ghost_size: int | None, r_max: Limit, d_max: Limit, count: jax.Array) -> Any:
    own.one_variant(ghost_size, r_max, d_max)
    if ghost_size is not None:
        return functools.partial(ghost_batch_norm, ghost_size=ghost_size)
    if r_max is not None:
        limits: Any = {"r_max": r_max, "d_max": d_max}
        limits = {name: limit(count) if callable(limit) else limit for name, limit in limits.items()}
        return functools.partial(batch_renorm, **limits)
    return batch_norm
