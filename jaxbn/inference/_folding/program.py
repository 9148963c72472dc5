"""A traced function as one flat list of operations: calls are entered, and what nothing needs is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.extend.core as jex

from jaxbn.inference._calls import WITH_OWN_RULE, called


@dataclasses.dataclass(eq=False)
class Value:
    """An array of the program.

    Attributes:
        aval: its shape and dtype.
        unknown: whether it depends on the data.
        sources: the names of the variables that it depends on.
        rounded: the dtypes of what it comes from, where variables had met the data or were converted.
        constant: its value, if no operation makes it and it is known.
        uses: how many operations and outputs read it.
    """

    aval: Any
    unknown: bool = False
    sources: frozenset[str] = frozenset()
    rounded: frozenset[str] = frozenset()
    constant: Any = None
    uses: int = 0


class Operation(NamedTuple):
    """An equation on values."""

    eqn: Any
    inputs: list[Value]
    outputs: list[Value]

    @property
    def name(self) -> str:
        return self.eqn.primitive.name

    @property
    def title(self) -> str:
        """The name that people know: of a call, that of the function."""
        call = called(self.eqn) if self.name in WITH_OWN_RULE else None
        return self.name if call is None else call[0].debug_info.func_name

    @property
    def read(self) -> list[Value]:
        """The arguments of `run`: all inputs but literals."""
        return [value for value, var in zip(self.inputs, self.eqn.invars, strict=True) if _is_var(var)]

    def run(self, *arrays: Any) -> list[Any]:
        """All outputs, with `None` for those that have no name."""
        eqn = self.eqn
        kept = [i for i, var in enumerate(eqn.outvars) if not isinstance(var, jex.DropVar)]
        body = jex.Jaxpr(
            constvars=(),
            invars=[var for var in eqn.invars if _is_var(var)],
            outvars=[eqn.outvars[i] for i in kept],
            eqns=[eqn],
            effects=eqn.effects,
            debug_info=self._debug_info,
        )
        outputs: list[Any] = [None] * len(eqn.outvars)
        for i, array in zip(kept, jex.jaxpr_as_fun(jex.ClosedJaxpr(body, ()))(*arrays), strict=True):
            outputs[i] = array
        return outputs

    @property
    def _debug_info(self) -> Any:
        return jex.DebugInfo("fold", f"fold of {self.name}", None, None)


class FlatProgram(NamedTuple):
    operations: list[Operation]
    outputs: list[Value]


def flattened(closed: Any, inputs: Sequence[Value], name_of: Callable[[Any], str]) -> FlatProgram:
    """The program of a jaxpr.

    Args:
        closed: as returned by `jax.make_jaxpr`.
        inputs: its arguments.
        name_of: the name of a constant.
    """
    operations: list[Operation] = []
    outputs = _enter((closed.jaxpr, closed.consts), inputs, name_of, operations)
    for value in outputs:
        value.uses += 1
    live = []
    for operation in reversed(operations):
        if operation.eqn.effects or any(value.uses for value in operation.outputs):
            live.append(operation)
            for value in operation.inputs:
                value.uses += 1
    return FlatProgram(live[::-1], outputs)


def _enter(
    call: tuple[Any, Sequence[Any]],
    inputs: Sequence[Value],
    name_of: Callable[[Any], str],
    operations: list[Operation],
) -> list[Value]:
    jaxpr, arrays = call
    constants = [_constant(array, var.aval, name_of) for var, array in zip(jaxpr.constvars, arrays, strict=True)]
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))

    def read(atom: Any) -> Value:
        return values[atom] if _is_var(atom) else _constant(atom.val, atom.aval, name_of)

    for eqn in jaxpr.eqns:
        arguments = [read(atom) for atom in eqn.invars]
        entered = _to_enter(eqn, arguments)
        if entered is not None:
            results = _enter(entered, arguments, name_of, operations)
        else:
            unknown = any(value.unknown for value in arguments)
            sources = frozenset().union(*(value.sources for value in arguments))
            results = [Value(var.aval, unknown, sources) for var in eqn.outvars]
            # Where data come in, kernels are rounded to what the operation takes.
            rounds = [value for value in (*results, *(arguments if unknown else ())) if value.sources]
            rounded = frozenset(str(value.aval.dtype) for value in rounds)
            for value in results:
                value.rounded = rounded.union(*(value.rounded for value in arguments))
            operations.append(Operation(eqn, arguments, results))
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _to_enter(eqn: Any, arguments: Sequence[Value]) -> tuple[Any, Sequence[Any]] | None:
    """What is called; a rule of its own is kept where no variables go in."""
    call = called(eqn)
    if call is None or eqn.primitive.name not in WITH_OWN_RULE or call[1]:
        return call
    return call if any(value.sources and not value.unknown for value in arguments) else None


def _constant(array: Any, aval: Any, name_of: Callable[[Any], str]) -> Value:
    sources = frozenset([name_of(array)]) if aval.shape else frozenset()
    return Value(aval, sources=sources, constant=array)


def _is_var(atom: Any) -> bool:
    return not isinstance(atom, jex.Literal)
