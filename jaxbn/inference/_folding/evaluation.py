"""What operations make of known arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.extend.core as jex

from jaxbn.inference._calls import WITH_OWN_RULE
from jaxbn.inference._folding.known import KnownArray, Memo, derived, elementwise
from jaxbn.inference._folding.moves import move
from jaxbn.inference._folding.program import Operation

# One number of the result needs one number of each input.
_ELEMENTWISE = (
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp complex conj convert_element_type copy "
    "copy_p cos cosh div eq erf erfc exp exp2 expm1 floor ge gt imag integer_pow is_finite le log log1p logistic lt "
    "max min mul ne neg nextafter not or pow real reduce_precision rem round rsqrt select_n sign sin sinh sqrt square "
    "sub tan tanh xor"
)
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
ROOTS = {"sqrt", "rsqrt", "cbrt", "pow"}


def results(operation: Operation, inputs: Sequence[KnownArray]) -> list[KnownArray]:
    """What an operation makes of known arrays."""
    name, avals = operation.name, [value.aval for value in operation.outputs]
    if name == "optimization_barrier":
        return list(inputs)
    moved = move(operation, inputs[0]) if len(inputs) == 1 else None
    if moved is not None:
        return [moved]
    if name in ELEMENTWISE:
        params, primitive = operation.eqn.params, operation.eqn.primitive
        made = elementwise(lambda *a: primitive.bind(*a, **params), inputs, avals[0].shape, avals[0].dtype)
        made.rooted = made.rooted or (name in ROOTS and bool(made.sources))
        return [made]

    read = [k for k, value in zip(inputs, operation.inputs, strict=True) if any(value is v for v in operation.read)]

    def all_outputs(memo: Memo) -> Any:
        key = (id(operation.eqn), all_outputs)
        if key not in memo:
            memo[key] = operation.run(*(k.whole(memo) for k in read))
        return memo[key]

    made_all = [derived(aval.shape, aval.shape, aval.dtype, inputs, None) for aval in avals]
    for i, made in enumerate(made_all):
        made.compute = lambda memo, i=i: all_outputs(memo)[i]  # type: ignore[misc]
    return made_all


def is_root(operation: Operation) -> bool:
    """Whether it takes a root, itself or as a function with a rule of its own."""
    return operation.name in ROOTS or (operation.name in WITH_OWN_RULE and has_root(operation.eqn.params))


def has_root(params: Any) -> bool:
    """Whether a root is taken in a body of an operation."""
    bodies = jex.jaxprs_in_params(params)
    return any(eqn.primitive.name in ROOTS or has_root(eqn.params) for body in bodies for eqn in body.eqns)
