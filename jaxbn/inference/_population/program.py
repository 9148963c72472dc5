"""The user's `apply` as a program: from variables and a batch to what each batch norm has seen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbn import _checks as core_checks
from jaxbn._pivoted import AxisName
from jaxbn.inference._population import checks as _checks
from jaxbn.inference._population.added import View
from jaxbn.inference._population.interpret import How, interpret
from jaxbn.inference._population.mark import Settings
from jaxbn.inference._population.nested import Known, Origin
from jaxbn.inference._population.seen import Seen, merge_two
from jaxbn.inference._population.watch import watching

Key = tuple[int, int]
_CONSTANTS = {str, bytes, int, float, complex, bool}
_KEPT = 64


class Layer(NamedTuple):
    """A batch norm, known by the leaves of the variables that hold its statistics.

    Attributes:
        mean: the number of that leaf.
        var: the number of that leaf.
        after: the leaves on which its input depends, `RANDOM` and `DROPOUT`.
        biases: the leaves that were added to its input last.
        settings: what it says of itself.
    """

    mean: int
    var: int
    after: frozenset[int]
    biases: frozenset[int]
    settings: Settings

    @property
    def key(self) -> Key:
        """What it is known by, wherever and with whatever settings it is called."""
        return self.mean, self.var

    def united(self, other: Layer) -> Layer:
        """Of two calls of one batch norm, which does not come after itself."""
        after = (self.after | other.after) - {*self.key}
        return self._replace(after=after, biases=self.biases | other.biases)


class Program:
    """`apply`, traced and compiled once for batches of the same shapes, and the same values of what is no array.

    Args:
        apply: `(leaves, batch) -> anything`.
        axis_name: the mapped axes over which the batch is spread, or `None`.
        every_axis: whether these are all axes of a shard_map in `apply`.
    """

    def __init__(
        self,
        apply: Callable[[list[Any], Any], Any],
        axis_name: AxisName | None = None,
        *,
        every_axis: bool = False,
    ) -> None:
        self.apply, self.how = apply, How(axis_name, every_axis)
        self.kept: dict[Any, _Traced] = {}

    def __call__(self, leaves: list[Any], batch: Any, *, in_training: bool = False) -> dict[Layer, Seen]:
        """What each layer has seen of this batch, in the order of their first calls.

        Args:
            leaves: of the variables.
            batch: anything; arrays in it are traced, all else goes to `apply` as it is.
            in_training: whether every layer sees what it would see in training, where those before it use the
                statistics of the batch.
        """
        traced, *inputs = self._traced(leaves, batch)
        layers, look = traced.trained if in_training else traced.evaluated
        seen = look(*inputs)
        return dict(zip(layers, seen, strict=True))

    def outputs(self, leaves: list[Any], batch: Any) -> Callable[[list[Any]], list[Any]]:
        """The arrays that `apply` returns for this batch, as a function of other leaves like these."""
        traced, _, arrays = self._traced(leaves, batch)
        return lambda own: traced.outputs(*_apart(own)[0], *arrays)

    def _traced(self, leaves: list[Any], batch: Any) -> tuple[_Traced, list[Any], list[Any]]:
        parts, tree = jax.tree.flatten(batch)
        (own, put_own), (arrays, put_arrays) = _apart(leaves), _apart(parts)
        # What is no array matters to `apply` by its value; of other things than these that may change in place.
        is_kept = all(is_array(part) or type(part) in _CONSTANTS for part in parts)
        kinds = [jax.typeof(part) if is_array(part) else (type(part), part) for part in parts] if is_kept else []
        key = (tree, *map(jax.typeof, own), *kinds)
        traced = self.kept.get(key) if is_kept else None
        if traced is None:

            def call(own: list[Any], arrays: list[Any]) -> list[Any]:
                output = self.apply(put_own(own), jax.tree.unflatten(tree, put_arrays(arrays)))
                return [leaf for leaf in jax.tree.leaves(output) if isinstance(leaf, jax.Array)]

            with watching(), _checks.explained(batch, arrays):
                jaxpr = jax.make_jaxpr(call)(own, arrays)
            numbers = [n for n, leaf in enumerate(leaves) if is_array(leaf)]
            traced = _Traced(jaxpr, numbers, self.how)
            if is_kept:
                # Names that never come again would fill the memory.
                if len(self.kept) == _KEPT:
                    del self.kept[next(iter(self.kept))]
                self.kept[key] = traced
        return traced, own, arrays


class _Traced:
    """A program for batches of some shapes, compiled for each of its uses when that comes."""

    def __init__(self, jaxpr: Any, numbers: list[int], how: How) -> None:
        self.jaxpr, self.numbers, self.how = jaxpr, numbers, how

    @functools.cached_property
    def evaluated(self) -> tuple[list[Layer], Callable[..., list[Seen]]]:
        return self._looking(self.how)

    @functools.cached_property
    def trained(self) -> tuple[list[Layer], Callable[..., list[Seen]]]:
        return self._looking(self.how._replace(in_training=True))

    @functools.cached_property
    def outputs(self) -> Callable[..., list[Any]]:
        return jax.jit(core.jaxpr_as_fun(self.jaxpr))

    def _looking(self, how: How) -> tuple[list[Layer], Callable[..., list[Seen]]]:
        layers: list[Layer] = []

        @jax.jit
        def look(own: list[Any], arrays: list[Any]) -> list[Seen]:
            inputs = [
                Known(v, Origin(n), frozenset([n]), View.of(n, v)) for v, n in zip(own, self.numbers, strict=True)
            ]
            inputs += [Known(v) for v in arrays]
            _, sightings = interpret(self.jaxpr.jaxpr, self.jaxpr.consts, inputs, how)
            found: dict[Key, tuple[Layer, Seen]] = {}
            for s in sightings:
                mean, var = _checks.from_variables(s.mean, s.var, len(found))
                layer, seen = Layer(mean.leaf, var.leaf, s.after, s.biases, s.settings), s.seen
                if layer.key in found:
                    earlier, before = found[layer.key]
                    layer, seen = earlier.united(layer), merge_two(before, seen)
                found[layer.key] = layer, seen
            layers[:] = [layer for layer, _ in found.values()]
            return [seen for _, seen in found.values()]

        return layers, look


def is_array(leaf: Any) -> bool:
    """Whether it can be traced."""
    return isinstance(leaf, jax.Array) or (
        isinstance(leaf, np.ndarray) and core_checks.is_array(leaf, jnp.bool_, jnp.number)
    )


def _apart(leaves: Sequence[Any]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """The arrays among the leaves, and a function that puts others in their places."""
    places = [n for n, leaf in enumerate(leaves) if is_array(leaf)]

    def put(arrays: Sequence[Any]) -> list[Any]:
        new = list(leaves)
        for n, array in zip(places, arrays, strict=True):
            new[n] = array
        return new

    return [leaves[n] for n in places], put
