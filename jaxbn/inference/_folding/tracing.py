"""From a function of variables and data to its plan, for data of any shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbn.inference._folding import checks as _checks
from jaxbn.inference._folding.derivation import derivations
from jaxbn.inference._folding.interpreter import Interpreter
from jaxbn.inference._folding.known import leaf
from jaxbn.inference._folding.names import Constants
from jaxbn.inference._folding.program import Value, flattened
from jaxbn.inference._population.model import opened


class Folding(NamedTuple):
    """A plan with the values that its data goes to, the structure of what it returns, and how its weights are made."""

    interpreter: Interpreter
    inputs: Sequence[Value]
    returns: Any
    derivations: Mapping[str, str]

    def run(self, weights: Any, arrays: Sequence[Any]) -> Any:
        results = self.interpreter.plan.run(weights, dict(zip(self.inputs, arrays, strict=True)))
        return jax.tree.unflatten(self.returns, results)


class Source:
    """A function, and all of its variables but their values.

    What is no array, like a flag, stays as it is; a model of nnx evaluates.
    """

    def __init__(self, f: Callable[..., Any], variables: Any) -> None:
        model = opened(variables)
        self._f, self._given, self._size = f, model.given, len(model.leaves)
        self._fixed = {i: part for i, part in enumerate(model.leaves) if not _checks.is_array(part)}
        arrays = {i: part for i, part in enumerate(model.leaves) if i not in self._fixed}
        self.arrays: list[Any] | None = list(arrays.values())
        self._names = [model.paths[i] for i in arrays]
        self._layers = {model.paths[i]: model.layers[i] for i in arrays}
        self._structs = [_struct(a) for a in self.arrays]
        self._constants = Constants(self.arrays, self._names)

    def call(self, arrays: Sequence[Any], x: Any) -> Any:
        """`f` of these variables."""
        rest = iter(arrays)
        leaves = [self._fixed[i] if i in self._fixed else next(rest) for i in range(self._size)]
        return self._f(self._given(leaves), x)

    def fold(self, x: Any) -> Folding:
        """The plan for data of this shape."""
        structs = jax.tree.map(_struct, x)
        closed, shapes = jax.make_jaxpr(self.call, return_shape=True)(self._structs, structs)
        avals, names = closed.in_avals, self._names
        variables = [Value(aval, sources=frozenset([name])) for aval, name in zip(avals, names, strict=False)]
        inputs = [Value(aval, unknown=True) for aval in avals[len(names) :]]
        values = self.arrays if self.arrays is not None else [None] * len(names)
        leaves = {value: leaf(value, array, name) for value, array, name in zip(variables, values, names, strict=True)}
        made = flattened(closed, [*variables, *inputs], self._constants.trace())
        several = all(value.aval.shape[:1] != (1,) for value in inputs)
        done = Interpreter(made, leaves, self._layers, several=several)
        weights = {name: k for name, (k, _) in done.plan.stored.items()}
        return Folding(done, inputs, jax.tree.structure(shapes), derivations(weights, done.leaves))

    def forget(self) -> None:
        """Keeps the values of the variables no longer: the weights take their place."""
        self.arrays = None
        self._constants.forget()


def _struct(a: Any) -> jax.ShapeDtypeStruct:
    """What is traced of an array: beside shape and dtype, whether it gives way to the dtype of others."""
    return jax.ShapeDtypeStruct(jnp.shape(a), a.dtype, weak_type=getattr(a, "weak_type", False))
