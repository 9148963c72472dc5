"""What is left to do with the data: steps on values and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbn.inference._folding.known import KnownArray, Memo
from jaxbn.inference._folding.names import Names
from jaxbn.inference._folding.program import Value


class Weight(NamedTuple):
    """A weight as it meets other arrays: reshaped to `compact`, where it does not repeat, and broadcast to `shape`."""

    name: str
    compact: tuple[Any, ...]
    shape: tuple[Any, ...]


Operand = Value | Weight | KnownArray


class Step(NamedTuple):
    run: Callable[..., Sequence[Any]]
    operands: Sequence[Operand]
    results: Sequence[Value]


class Plan(NamedTuple):
    """A program of steps.

    Attributes:
        steps: in order.
        outputs: what it returns.
        stored: the weights, and the shapes to keep them in.
    """

    steps: Sequence[Step]
    outputs: Sequence[Operand]
    stored: Mapping[str, tuple[KnownArray, tuple[int, ...]]]

    def weights(self) -> dict[str, jax.Array]:
        memo: Memo = {}
        return {name: k.value(memo).reshape(shape) for name, (k, shape) in self.stored.items()}

    def run(self, weights: Mapping[str, Any], inputs: Mapping[Value, Any]) -> list[Any]:
        values, memo = dict(inputs), Memo()

        def read(operand: Operand) -> Any:
            if isinstance(operand, Weight):
                return jnp.broadcast_to(jnp.reshape(weights[operand.name], operand.compact), operand.shape)
            return operand.whole(memo) if isinstance(operand, KnownArray) else values[operand]

        for step in self.steps:
            values.update(zip(step.results, step.run(*map(read, step.operands)), strict=True))
        return [read(operand) for operand in self.outputs]


def operand(k: KnownArray, names: Names, wanted: str, *, whole: bool = True) -> Operand:
    """A known array as a weight; one that depends on no variable is computed on the way."""
    if not k.sources:
        return k
    return Weight(names.of(k, wanted, _stored_shape(k, whole)), k.compact, k.shape if whole else k.compact)


def _stored_shape(k: KnownArray, whole: bool) -> tuple[Any, ...]:
    """That of the variable where it is one, otherwise without the axes along which it repeats."""
    if k.origin is not None and k.is_view and math.prod(k.origin) == math.prod(k.compact):
        return k.origin
    full = k.shape if whole else [None] * len(k.shape)
    return tuple(size for size, all_of_it in zip(k.compact, full, strict=True) if size == all_of_it or size != 1)
