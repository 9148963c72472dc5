"""What one pass over the data shows of every batch norm, beside its running statistics."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxbn._checks import is_array
from jaxbn.inference._diagnosis import checks as _checks
from jaxbn.inference._population import checks as shared
from jaxbn.inference._population.leaves import running
from jaxbn.inference._population.model import Model, like
from jaxbn.inference._population.population import Population, merge, population
from jaxbn.inference._population.program import Layer, Program


class Data(NamedTuple):
    """What a batch norm has seen; all arrays are `[features]`, in double precision.

    Attributes:
        population: of all of it.
        groups: of each group of batches, by its label; none if no labels are given.
        within: the squared deviations within the batches, summed.
        vars: the variances of the batches, summed.
        squares: their squares, summed.
        batches: how many have data.
        spoilt: the number of the first batch that is not finite, or 0.
    """

    population: Population
    groups: dict[Hashable, Population]
    within: Any
    vars: Any
    squares: Any
    batches: Any
    spoilt: int

    @classmethod
    def of_batch(cls, batch: Population, number: int, labels: list[Hashable] | None) -> Data:
        finite = np.all(np.isfinite(batch.mean)) and np.all(np.isfinite(batch.m2))
        groups = {} if labels is None else {labels[number - 1]: batch}
        return cls(batch, groups, batch.m2, batch.var, batch.var**2, 1.0 * (batch.count > 0), 0 if finite else number)

    def merged(self, other: Data) -> Data:
        groups = dict(self.groups)
        for label, group in other.groups.items():
            groups[label] = merge(groups[label], group) if label in groups else group
        population = merge(self.population, other.population)
        within, variances, squares, batches = (a + b for a, b in zip(self[2:6], other[2:6], strict=True))
        return Data(population, groups, within, variances, squares, batches, self.spoilt or other.spoilt)


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """A batch norm and its data.

    Attributes:
        name: of the layer.
        layer: where its statistics lie, and what it says of itself.
        running_mean: `[features]`, in double precision.
        running_var: the same.
        now: what it sees with the variables as they are.
        right: what it sees if the norms before it use the statistics of the batch, as in training.
        sizes: of each batch, the values in a channel.
        updates: the training updates seen, or `None`.
    """

    name: str
    layer: Layer
    running_mean: Any
    running_var: Any
    now: Data
    right: Data
    sizes: list[float]
    updates: int | None


def observe(
    program: Program,
    model: Model,
    read: Callable[[], Iterator[Any]],
    step: int | None,
    labels: list[Hashable] | None,
) -> tuple[list[Observed], Any]:
    """Every layer in the order of the calls, and the first batch with data."""
    found: dict[tuple[int, int], Observed] = {}
    first, number = None, 0
    for number, batch in enumerate(read(), 1):
        _checks.values("batches", batch)
        if labels is not None and number > len(labels):
            _checks.a_label_each(labels, number)
        first = first if any(np.any(one.now.population.count) for one in found.values()) else batch
        now = program(model.leaves, batch)
        _checks.values("apply", list(now.values()))
        right = program(_sound(model.leaves, list(now)), batch, in_training=True)
        # What isn't finite is a finding, and no accident.
        with np.errstate(invalid="ignore", over="ignore"):
            for layer, seen in now.items():
                data = [Data.of_batch(population(s), number, labels) for s in (seen, right[layer])]
                one = _observed(model, layer, data[0], data[1], step)
                found[layer.key] = one if layer.key not in found else _merged(found[layer.key], one)
    shared.any_batch(number)
    shared.any_layer(found)
    _checks.a_label_each(labels, number)
    shared.any_data([one.now.population.count for one in found.values()])
    return list(found.values()), first


def broken(mean: Any, var: Any) -> Any:
    """Which features can't be normalised with these statistics."""
    return ~np.isfinite(mean) | ~np.isfinite(var) | (var < 0)


def _sound(leaves: list[Any], layers: list[Layer]) -> list[Any]:
    """With broken statistics replaced, so that what comes after them can be seen."""
    new = list(leaves)
    for layer in layers:
        mean, var = (np.asarray(leaves[n]) for n in layer[:2])
        wide = np.float64 if mean.dtype.kind != "c" else np.complex128
        mean, var = mean.astype(wide), var.astype(np.float64)
        if not np.all(np.isfinite(mean)):
            new[layer.mean] = like(leaves[layer.mean], np.where(np.isfinite(mean), mean, 0))
        if np.any(broken(0, var)):
            new[layer.var] = like(leaves[layer.var], np.where(broken(0, var), 1, var))
    return new


def _observed(model: Model, layer: Layer, now: Data, right: Data, step: int | None) -> Observed:
    name, of = model.names[layer.mean], now.population
    shared.holds(name, model.leaves[layer.mean], of.mean)
    size, updates = float(np.max(of.count, initial=0)), _updates(model, layer, step)
    return Observed(name, layer, *running(model.leaves, layer, of), now, right, [size], updates)


def _updates(model: Model, layer: Layer, step: int | None) -> int | None:
    count = model.beside(layer.mean, "count")
    if is_array(count, np.integer) and np.size(count):
        return int(np.min(count))
    return None if step is None else operator.index(step)


def _merged(a: Observed, b: Observed) -> Observed:
    return dataclasses.replace(
        a,
        layer=a.layer.united(b.layer),
        now=a.now.merged(b.now),
        right=a.right.merged(b.right),
        sizes=[*a.sizes, *b.sizes],
    )
