"""Population statistics from those of batches, in double precision where values are known."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.inference._population.seen import Seen, merge_two, shifted


class Population(NamedTuple):
    """Of what a batch norm has seen so far; all arrays are `[features]`.

    Attributes:
        samples: how many entries along the batch axis.
        count: how many values.
        mean: of the values.
        m2: their sum of squared deviations.
        m3: the sum of their third powers.
        m4: the sum of the fourth.
    """

    samples: Any
    count: Any
    mean: Any
    m2: Any
    m3: Any
    m4: Any

    @property
    def var(self) -> Any:
        return self.m2 / _or_one(self.count)

    @property
    def mean_error(self) -> Any:
        """Standard error of the mean, in standard deviations: also of what was constant so far."""
        return namespace(self).sqrt(1 / _or_one(self.samples))

    @property
    def std_error(self) -> Any:
        """Standard error of the standard deviation, in standard deviations: `sqrt((k + 2) / 4n)`, `k` the excess.

        The variance is the mean of squared deviations, whose own variance is `(k + 2) * sigma**4`.
        """
        xp = namespace(self)
        # Of numbers whose fourth powers overflow it is not known.
        with np.errstate(over="ignore", invalid="ignore"):
            square_var = xp.maximum(self.m4 / _or_one(self.count) - self.var**2, 0)
        relative = xp.sqrt(square_var / _or_one(self.samples)) / (2 * _or_one(self.var))
        return xp.where(self.m2 > 0, relative, 0)

    def is_known(self, tolerance: float) -> bool:
        """Whether every feature has data, and no standard error is above this."""
        errors = np.maximum(self.mean_error, self.std_error)
        return bool(np.all((self.count > 0) & (errors <= tolerance)))


def population(seen: Seen | Population) -> Population:
    """In double precision, unless it is traced."""
    if isinstance(seen, Population):
        return seen

    def wide(part: Any) -> Any:
        return np.asarray(part).astype(np.result_type(part.dtype, np.float64))

    values, m3, m4, samples = seen if is_traced(seen) else jax.tree.map(wide, seen)
    return Population(samples, values.count, values.mean, values.m2, m3, m4)


def add(total: Seen | Population | None, seen: Seen) -> Seen | Population:
    """What one more batch makes of it; where values are traced the pivots have to keep the digits."""
    new = seen if is_traced(seen) else population(seen)
    if total is None:
        return new
    if isinstance(total, Seen) and isinstance(new, Seen):
        return merge_two(total, new)
    return merge(population(total), population(new))


def nothing(like: Any) -> Population:
    """Of no data, for statistics of this shape."""
    xp = namespace(like)
    zero = xp.zeros(like.shape, like.dtype if xp is jnp else np.result_type(like.dtype, np.float64))
    return Population(zero.real, zero.real, zero, zero.real, zero, zero.real)


def merge(a: Population, b: Population) -> Population:
    """Of the union of two disjoint sets: Chan, Golub and LeVeque 1979, equation (2.1), and its like for m3 and m4."""
    count, delta = a.count + b.count, b.mean - a.mean
    share = b.count / _or_one(count)
    m2 = a.m2 + b.m2 + a.count * share * (delta.real**2 + delta.imag**2)
    a3, a4 = shifted(-share * delta, a.count, a.m2, a.m3, a.m4)
    b3, b4 = shifted((1 - share) * delta, b.count, b.m2, b.m3, b.m4)
    return Population(a.samples + b.samples, count, a.mean + share * delta, m2, a3 + b3, a4 + b4)


def pretend(mean: Any, var: Any, samples: float, like: Population) -> Population:
    """Statistics from elsewhere, as if they were those of so many samples."""
    each = like.count / _or_one(like.samples)
    count = samples * each
    zero = 0 * count
    return Population(samples + zero, count, mean, count * var, zero, zero)


def namespace(tree: Any) -> Any:
    """That of JAX for what is traced, in part at least: under `vmap` counts may be known where means are not."""
    return jnp if is_traced(tree) else np


def is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _or_one(count: Any) -> Any:
    xp = namespace(count)
    return xp.where(count > 0, count, xp.ones_like(count))
