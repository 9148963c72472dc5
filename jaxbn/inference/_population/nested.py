"""Programs inside of a program: how each runs once more, so that what is seen inside comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxbn.inference._population.added import View
from jaxbn.inference._population.mark import Settings
from jaxbn.inference._population.seen import Seen, merge_parts


class Origin(NamedTuple):
    """An input of the program, or what the scans of `slices` take of it step by step."""

    leaf: int
    slices: tuple[object, ...] = ()


# These stand among the inputs that a value comes after: random numbers, and dropout with no batch norm behind it.
RANDOM, DROPOUT = -1, -2


class Known(NamedTuple):
    """A value, and what is known of it.

    Attributes:
        value: an array.
        origin: the input that it is, unchanged.
        after: the inputs on which it depends, by their numbers, `RANDOM` and `DROPOUT`.
        view: the input of which it is a broadcast.
        added: the inputs of which broadcasts were added to it last.
    """

    value: Any
    origin: Origin | None = None
    after: frozenset[int] = frozenset()
    view: View | None = None
    added: frozenset[View] = frozenset()


class Sighting(NamedTuple):
    """One call of a batch norm: its input, the origins of what it is normalised with, and what is known of both."""

    mean: Origin | None
    var: Origin | None
    after: frozenset[int]
    biases: frozenset[int]
    settings: Settings
    seen: Seen


# From a program, its constants and inputs to its outputs and what it has seen.
Run = Callable[[Any, Sequence[Any], Sequence[Known]], tuple[list[Known], list[Sighting]]]


def all_after(given: Sequence[Known]) -> frozenset[int]:
    return frozenset().union(*(g.after for g in given))


def _without_values(sightings: Sequence[Sighting]) -> list[Any]:
    return [s._replace(seen=None) for s in sightings]  # type: ignore[arg-type]  # what is traced stays inside


class _Operands(NamedTuple):
    """Of a scan.

    Attributes:
        fixed: what every step gets.
        carry: what a step passes on to the next.
        unchanged: of each carry, whether all steps pass it on as it is.
        scanned: what the steps take apart.
    """

    fixed: list[Known]
    carry: list[Known]
    unchanged: list[bool]
    scanned: list[Known]

    @classmethod
    def of(cls, eqn: Any, given: list[Known]) -> _Operands:
        body = eqn.params["jaxpr"].jaxpr
        # What is scanned over has one axis less inside.
        scanned = sum(v.aval.ndim > b.aval.ndim for v, b in zip(eqn.invars, body.invars, strict=True))
        carries = sum(v.aval.ndim == b.aval.ndim for v, b in zip(eqn.outvars, body.outvars, strict=True))
        last = len(given) - scanned
        first = last - carries
        unchanged = [a is b for a, b in zip(body.invars[first:last], body.outvars[:carries], strict=True)]
        return cls(given[:first], given[first:last], unchanged, given[last:])

    def passed_on(self, values: Sequence[Any], after: frozenset[int]) -> list[Known]:
        """What is known of these values of the carry."""
        parts = zip(values, self.carry, self.unchanged, strict=True)
        return [Known(value, old.origin if same else None, after) for value, old, same in parts]


def _slice(value: Any, whole: Known, scan: object) -> Known:
    """What one step of a scan takes of an operand."""
    origin = whole.origin and Origin(whole.origin.leaf, (*whole.origin.slices, scan))
    return Known(value, origin, whole.after, whole.view and whole.view.step())


def _scan(run: Run, eqn: Any, given: list[Known]) -> tuple[list[Known], list[Sighting]]:
    """What each step sees is merged, unless each has statistics of its own, which are scanned over too."""
    closed, this = eqn.params["jaxpr"], object()
    operands, everything = _Operands.of(eqn, given), all_after(given)
    found: list[Sighting] = []

    def step(values: list[Any], parts: list[Any]) -> Any:
        slices = [_slice(part, whole, this) for part, whole in zip(parts, operands.scanned, strict=True)]
        inputs = [*operands.fixed, *operands.passed_on(values, everything), *slices]
        outputs, sightings = run(closed.jaxpr, closed.consts, inputs)
        found[:] = _without_values(sightings)
        new, carries = [o.value for o in outputs], len(operands.carry)
        return new[:carries], (new[carries:], [s.seen for s in sightings])

    options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    first, parts = [c.value for c in operands.carry], [s.value for s in operands.scanned]
    last, (stacked, seen) = lax.scan(step, first, parts, **options)
    outputs = [*operands.passed_on(last, everything), *(Known(value, None, everything) for value in stacked)]
    has_own = [s.mean is not None and this in s.mean.slices for s in found]
    return outputs, [
        s._replace(seen=each if own else merge_parts(each)) for s, each, own in zip(found, seen, has_own, strict=True)
    ]


def _cond(run: Run, eqn: Any, given: list[Known]) -> tuple[list[Known], list[Sighting]]:
    """A branch that is not taken has seen nothing."""
    found: dict[int, list[Sighting]] = {}

    def branch(number: int, values: list[Any]) -> Any:
        closed = eqn.params["branches"][number]
        inputs = [g._replace(value=v) for g, v in zip(given[1:], values, strict=True)]
        outputs, found[number] = run(closed.jaxpr, closed.consts, inputs)
        return [o.value for o in outputs], [s.seen for s in found[number]]

    values, numbers = [g.value for g in given[1:]], range(len(eqn.params["branches"]))
    nothing = [
        jax.tree.map(
            lambda part: jnp.zeros(part.shape, part.dtype), jax.eval_shape(lambda v, n=n: branch(n, v)[1], values)
        )
        for n in numbers
    ]

    def taken(number: int) -> Any:
        def call(values: list[Any]) -> Any:
            outputs, seen = branch(number, values)
            return outputs, [seen if n == number else nothing[n] for n in numbers]

        return call

    outputs, seen = lax.switch(given[0].value, [taken(n) for n in numbers], values)
    after = all_after(given)
    sightings = [
        s._replace(seen=one, after=s.after | given[0].after)
        for n in numbers
        for s, one in zip(found[n], seen[n], strict=True)
    ]
    return [Known(value, None, after) for value in outputs], sightings


def _shard_map(run: Run, eqn: Any, given: list[Known]) -> tuple[list[Known], list[Sighting]]:
    """Every device sees its part of the batch; with the axis named, what it has seen is that of all of them."""
    params = eqn.params
    found: list[Sighting] = []

    def body(*values: Any) -> Any:
        inputs = [g._replace(value=v) for g, v in zip(given, values, strict=True)]
        outputs, sightings = run(params["jaxpr"], (), inputs)
        found[:] = _without_values(sightings)
        return [o.value for o in outputs], [s.seen for s in sightings]

    outputs, seen = jax.shard_map(
        body,
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=(list(params["out_specs"]), PartitionSpec()),
        axis_names=set(manual_axes(eqn)),
        check_vma=params["check_vma"],
    )(*(g.value for g in given))
    after = all_after(given)
    return [Known(value, None, after) for value in outputs], [
        s._replace(seen=one) for s, one in zip(found, seen, strict=True)
    ]


def manual_axes(eqn: Any) -> frozenset[str]:
    """The axes over which a shard_map maps."""
    return eqn.params.get("newly_manual_axes", eqn.params.get("manual_axes"))


RULES = {"scan": _scan, "cond": _cond, "shard_map": _shard_map}
