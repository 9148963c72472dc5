"""What a batch norm passes on in training, for a program that evaluates."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxbn._layout import ascending
from jaxbn._numbers import statistics_dtype
from jaxbn._pivoted import Pivoted
from jaxbn._reduce.plain import beside


def as_in_training(
    x: jax.Array, batch: Pivoted, mean: jax.Array, var: jax.Array, axes: Sequence[int], epsilon: float
) -> jax.Array:
    """The input that running statistics normalise to what those of the batch make of `x`.

    `mean + (x - batch_mean) * sqrt((var + epsilon) / (batch_var + epsilon))`. Without data in the batch it is `x`.

    Args:
        x: the input of a batch norm.
        batch: its statistics, `[features]`.
        mean: the running mean, `[features]`.
        var: the running variance, `[features]`, finite and not negative.
        axes: the feature axes, in the order of the features.
        epsilon: added to the variance.
    """
    ordered, dtype = tuple(sorted(axes)), statistics_dtype(x.dtype)

    def spread(part: jax.Array, like: jax.Array) -> jax.Array:
        return beside(ascending(part, axes).astype(like.dtype), x, ordered)

    wide = x.astype(dtype)
    deviation = wide - spread(batch.pivot, wide) - spread(batch.offset, wide)
    spread_of_batch = batch.var + jnp.asarray(epsilon, batch.m2.dtype)
    ratio = (var.astype(batch.m2.dtype) + jnp.asarray(epsilon, batch.m2.dtype)) / jnp.where(
        spread_of_batch > 0, spread_of_batch, 1
    )
    new = spread(mean, wide) + deviation * spread(jnp.sqrt(ratio), wide)
    return jnp.where(spread(batch.count, wide.real) > 0, new, wide).astype(x.dtype)
