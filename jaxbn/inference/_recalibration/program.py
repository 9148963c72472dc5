"""The user's `apply` as a program: from variables and a batch to what each batch norm has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn._pivoted import AxisName
from jaxbn.inference._recalibration import checks as _checks
from jaxbn.inference._recalibration.interpret import interpret
from jaxbn.inference._recalibration.nested import Known, Origin
from jaxbn.inference._recalibration.seen import Seen, merge_two
from jaxbn.inference._recalibration.watch import watching


class Layer(NamedTuple):
    """A batch norm, known by the leaves of the variables that hold its statistics.

    Attributes:
        mean: the number of that leaf.
        var: the number of that leaf.
        after: the leaves on which its input depends.
    """

    mean: int
    var: int
    after: frozenset[int]


class Program:
    """`apply`, compiled once for batches of the same shapes."""

    def __init__(self, apply: Callable[[list[Any], Any], Any], axis_name: AxisName | None) -> None:
        self.apply, self.axis_name = apply, axis_name
        self.compiled: dict[Any, Any] = {}

    def __call__(self, leaves: list[Any], batch: Any) -> dict[Layer, Seen]:
        """What each layer has seen of this batch, in the order of their first calls.

        Args:
            leaves: of the variables.
            batch: anything; arrays in it are traced, all else goes to `apply` as it is.
        """
        parts, tree = jax.tree.flatten(batch)
        (own, put_own), (arrays, put_arrays) = _apart(leaves), _apart(parts)
        key = (tree, *map(jax.typeof, [*own, *arrays]))
        # What is no array may matter to `apply`, and may have changed in place since the last batch.
        program = self.compiled.get(key) if len(arrays) == len(parts) else None
        if program is None:

            def call(own: list[Any], arrays: list[Any]) -> list[Any]:
                output = self.apply(put_own(own), jax.tree.unflatten(tree, put_arrays(arrays)))
                return [leaf for leaf in jax.tree.leaves(output) if isinstance(leaf, jax.Array)]

            with watching():
                jaxpr = jax.make_jaxpr(call)(own, arrays)
            numbers = [n for n, leaf in enumerate(leaves) if is_array(leaf)]
            self.compiled[key] = program = self._compiled(jaxpr, numbers)
        layers, look = program
        seen = look(own, arrays)
        return dict(zip(layers, seen, strict=True))

    def _compiled(self, jaxpr: Any, numbers: list[int]) -> tuple[list[Layer], Callable[..., list[Seen]]]:
        layers: list[Layer] = []

        @jax.jit
        def look(own: list[Any], arrays: list[Any]) -> list[Seen]:
            inputs = [Known(v, Origin(n), frozenset([n])) for v, n in zip(own, numbers, strict=True)]
            inputs += [Known(v) for v in arrays]
            _, sightings = interpret(jaxpr.jaxpr, jaxpr.consts, inputs, self.axis_name)
            found: dict[tuple[int, int], tuple[Layer, Seen]] = {}
            for s in sightings:
                mean, var = _checks.from_variables(s.mean, s.var, len(found))
                layer, seen = Layer(mean.leaf, var.leaf, s.after), s.seen
                if layer[:2] in found:
                    layer, earlier = found[layer[:2]]
                    seen = merge_two(earlier, seen)
                found[layer[:2]] = layer, seen
            layers[:] = [layer for layer, _ in found.values()]
            return [seen for _, seen in found.values()]

        return layers, look


def is_array(leaf: Any) -> bool:
    """Whether it can be traced."""
    return isinstance(leaf, jax.Array) or (
        isinstance(leaf, np.ndarray) and (leaf.dtype == bool or jnp.issubdtype(leaf.dtype, np.number))
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
