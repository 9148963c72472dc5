"""Running statistics: the one place that knows what momentum means.

Momentum is the weight of the OLD value, as in Flax, Haiku, Equinox and Keras; PyTorch's is the weight of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks
from jaxbn._layout import shared_alike
from jaxbn._numbers import statistics_dtype
from jaxbn._pivoted import Pivoted, about_mean, merge
from jaxbn.moments import Moments, rounded

Initializer = Callable[..., jax.Array]
Averaging = Literal["ema", "warmup", "cumulative"]


class BatchNormState(NamedTuple):
    """Running statistics; structure, shapes and dtypes never change, so that `lax.scan` carries them.

    Attributes:
        mean: `[features]`, at least float32, in the unit of the data; complex for complex data.
        var: `[features]`, at least float32, real, in the square of that unit.
        count: int32 `[]`, the training updates seen.

    Example:
        >>> state = init_state(1)._replace(mean=jnp.array([3.0]))
        >>> print(state.mean, state.var, state.count)
        [3.] [1.] 0
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # the field's name hides tuple.count


class AccumulatingState(NamedTuple):
    """Running statistics that learn from several micro-batches at once; `jaxbn.variants.accumulate` makes them.

    Attributes:
        mean: `[features]`, at least float32; complex for complex data.
        var: `[features]`, at least float32, real.
        count: int32 `[]`, the training updates seen.
        pending: statistics of the micro-batches since the last update, merged; four `[features]` arrays.
        seen: int32 `[]`, how many micro-batches those are.
        micro_batches: int32 `[]`, how many make an update.

    Example:
        >>> from jaxbn.variants import accumulate
        >>> state = accumulate(init_state(1), micro_batches=2)
        >>> print(state.mean, state.seen, state.micro_batches)
        [0.] 0 2
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]
    pending: Pivoted
    seen: jax.Array
    micro_batches: jax.Array


State = TypeVar("State", BatchNormState, AccumulatingState)


def init_state(
    features: int | Sequence[int],
    *,
    key: jax.Array | None = None,
    mean_init: Initializer = initializers.zeros,
    var_init: Initializer = initializers.ones,
    dtype: DTypeLike = jnp.float32,
) -> BatchNormState:
    """Running statistics before any training.

    `mean = 0`,  `var = 1`,  `count = 0`, if no initialiser says otherwise.

    Args:
        features: the number of features, or one number for each of several feature axes.
        key: a PRNG key, needed only by random initialisers.
        mean_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`.
        var_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`.
        dtype: of the mean; for a complex one the variance is real. Narrower ones than float32 become float32.

    Returns:
        `BatchNormState` of `[features]` arrays.

    Raises:
        TypeError: `features` is not made of ints, or `dtype` is not floating or complex.
        ValueError: `features` is negative, or an initialiser needs the `key` that is missing.

    Example:
        >>> state = init_state(3, dtype=jnp.bfloat16)
        >>> print(state.mean, state.var, state.count, state.mean.dtype)
        [0. 0. 0.] [1. 1. 1.] 0 float32

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, section 3.1: the moving averages. It names no start; this
        is that of `flax/linen/normalization.py` and of `torch/nn/modules/batchnorm.py`.
    """
    shape = _checks.features(features)
    dtype = statistics_dtype(_checks.float_dtype("dtype", dtype))
    mean_key, var_key = _checks.keys(key, 2)
    mean = _checks.initial("mean_init", mean_init, mean_key, shape, dtype)
    var = _checks.initial("var_init", var_init, var_key, shape, jnp.finfo(dtype).dtype)
    return BatchNormState(mean, var, jnp.zeros((), jnp.int32))


def check_state(state: BatchNormState) -> None:
    """Raise an error if something is wrong with running statistics, for example after loading them; not under `jit`.

    They are right if `mean` and `var` have one shape and are finite, `var >= 0` and `count >= 0`.

    Args:
        state: `BatchNormState` of `[features]` arrays.

    Raises:
        TypeError: `state` is not a `BatchNormState`, is traced, or holds dtypes that it should not.
        ValueError: NaN or inf, a negative variance or count, or shapes that differ; the first such feature is named.

    Example:
        >>> state = init_state(3)
        >>> check_state(state)
        >>> check_state(state._replace(var=jnp.array([1.0, -2.0, 1.0])))
        Traceback (most recent call last):
        ValueError: `state.var` must be at least 0, got -2.0 for feature (1,), one of 1 such; restore an earlier state.

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithm 2, step 11, which divides by the root of `var`.
    """
    _checks.state_values(state)


def update_state(
    state: State,
    moments: Moments,
    *,
    momentum: ArrayLike = 0.99,
    averaging: Averaging = "ema",
    ddof: Literal[0, 1] = 0,
) -> State:
    """Running statistics after one more batch.

    `running = m_t * running + (1 - m_t) * batch`, with `m_t = momentum` for `"ema"`, `min(momentum, t / (t + 1))` for
    `"warmup"` and `t / (t + 1)` for `"cumulative"`, where `t = state.count`. The last two forget the initial values at
    the first update. The batch variance is `m2 / (count - ddof)`.

    Args:
        state: `BatchNormState` of `[features]` arrays, or what `accumulate` makes of it.
        moments: `Moments` of `[features]` arrays, as from `batch_moments`.
        momentum: the weight of the old value, between 0 and 1.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`.
        ddof: 0 for the biased variance, 1 for the unbiased one.

    Returns:
        A state of the same kind, shapes and dtypes; no gradient flows through it. Features with no data keep their
        statistics, a variance without a degree of freedom (`count <= ddof`) stays, and a batch without any data does
        not count as an update.

    Raises:
        TypeError: complex moments for a real state, or a state in half precision.
        ValueError: an argument out of its range, or shapes that differ.

    Example:
        >>> state = update_state(init_state(1), Moments(*jnp.array([[4.0], [2.0], [8.0]])), momentum=0.9)
        >>> print(state.mean, state.var, state.count)
        [0.2] [1.1] 1

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, section 3.1 (`ddof=1` is its unbiased estimate).
    """
    _checks.momentum(momentum)
    _checks.update_rule(averaging, ddof)
    _checks.moments("moments", moments)
    _checks.moments_fit_state(moments, state)
    if isinstance(state, AccumulatingState):
        return accumulated(state, about_mean(*moments), momentum=momentum, averaging=averaging, ddof=ddof)
    state, (count, mean, m2) = lax.stop_gradient((state, moments))

    # `1 - momentum` before it is rounded: 1 - 0.99 is 0.01, and in float32 0.00999999.
    weight = jnp.asarray(1 - momentum, state.var.dtype)
    if averaging != "ema":
        equal = 1 / (state.count.astype(weight.dtype) + 1)
        weight = jnp.maximum(weight, equal) if averaging == "warmup" else equal
    degrees = count - ddof
    var = m2 / jnp.where(degrees > 0, degrees, 1).astype(m2.dtype)

    # An average moves by a small step. Weighing both would round two numbers of its own size in every update, and
    # rounded weights do not add up to 1, which pulls it elsewhere.
    small = averaging == "ema" and isinstance(momentum, float) and 0 < momentum < 1

    def blend(old: jax.Array, new: jax.Array, known: jax.Array) -> jax.Array:
        if small:
            step = weight.astype(old.dtype) * (new.astype(old.dtype) - old)
            return old + jnp.where(known & jnp.isfinite(old), step, 0)
        new = jnp.where(known, new, 0).astype(old.dtype)
        take = jnp.where(known, weight, 0).astype(old.dtype)
        # All sharded alike, since a choice between arrays that are not is refused.
        new, old = new + jnp.zeros_like(old), old + jnp.zeros_like(new)
        take = take + jnp.zeros_like(new)
        step = jnp.where((take == 0) | ~jnp.isfinite(old), 0, take * (new - old))
        return jnp.where(take == 1, new, old + step)

    return BatchNormState(
        blend(state.mean, mean, count > 0),
        blend(state.var, var, degrees > 0),
        state.count + jnp.any(count > 0).astype(state.count.dtype),
    )


def accumulated(state: AccumulatingState, batch: Pivoted, **rule: Any) -> AccumulatingState:
    """One update from all micro-batches, at the last of them; until then they are merged."""
    _checks.moments_fit_state(rounded(batch), state)
    both = jax.tree.map(lambda a, b: jnp.stack(shared_alike(a, b.astype(a.dtype))), state.pending, batch)
    pending = merge(lax.stop_gradient(both))
    seen, old = state.seen + 1, BatchNormState(*state[:3])
    due = seen >= state.micro_batches
    learned = update_state(old, rounded(pending), **rule)
    new = jax.tree.map(lambda a, b: jnp.where(due, *shared_alike(a, b)), learned, old)
    kept = Pivoted(*(jnp.where(due, 0, part) for part in pending))
    return AccumulatingState(new.mean, new.var, new.count, kept, jnp.where(due, 0, seen), state.micro_batches)
