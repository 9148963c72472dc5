"""How the variables get to the outputs: read off the program of `apply`, without a run of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxbn.inference._population.added import SAME, SUMS
from jaxbn.inference._population.mark import mark_p
from jaxbn.inference._population.program import Program, is_array

# What becomes of a number that is added to a value: it gets nowhere, only into batch norms that take it away with the
# mean, or further.
NOWHERE, TAKEN_AWAY, HEARD = 0, 1, 2


class Flow(NamedTuple):
    """Where the variables get to.

    Attributes:
        unchanged: of each output, whether it is one of the variables as it is, such as a state that is returned.
        taken_away: the leaves of which all that is added to something is taken away by batch norms.
    """

    unchanged: list[bool]
    taken_away: frozenset[int]


def flow(program: Program, leaves: Sequence[Any], batch: Any) -> Flow:
    outputs, places = program.outputs(list(leaves), batch), [n for n, leaf in enumerate(leaves) if is_array(leaf)]

    def call(arrays: list[Any]) -> list[Any]:
        own = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            own[place] = array
        return outputs(own)

    jaxpr = jax.make_jaxpr(call)([leaves[place] for place in places]).jaxpr
    fates = _fates(jaxpr, [HEARD] * len(jaxpr.outvars))
    taken = frozenset(place for place, fate in zip(places, fates, strict=True) if fate == TAKEN_AWAY)
    return Flow(_as_they_are(jaxpr, [True] * len(jaxpr.invars)), taken)


def _as_they_are(jaxpr: Any, inputs: Sequence[bool]) -> list[bool]:
    """Of each output, whether it is one of these inputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def of(v: Any) -> bool:
        return not isinstance(v, core.Literal) and known.get(v, False)

    for eqn in jaxpr.eqns:
        given, inner = [of(v) for v in eqn.invars], _inside(eqn)
        if len(inner) == 1:
            known |= zip(eqn.outvars, _as_they_are(inner[0], given[-len(inner[0].invars) :]), strict=True)
        elif eqn.primitive.name in SAME:
            known[eqn.outvars[0]] = given[0]
    return [of(v) for v in jaxpr.outvars]


def _fates(jaxpr: Any, outputs: Sequence[int]) -> list[int]:
    """What becomes of a number that is added to each input, given that for each output: the furthest that it gets."""
    known: dict[Any, int] = {}

    def gets(values: Sequence[Any], fates: Sequence[int]) -> None:
        for v, fate in zip(values, fates, strict=True):
            if not isinstance(v, core.Literal):
                known[v] = max(known.get(v, NOWHERE), fate)

    gets(jaxpr.outvars, outputs)
    for eqn in reversed(jaxpr.eqns):
        after = [known.get(v, NOWHERE) for v in eqn.outvars]
        furthest, inner = max(after, default=NOWHERE), _inside(eqn)
        if furthest == NOWHERE:
            continue
        if eqn.primitive is mark_p:
            gets(eqn.invars, [TAKEN_AWAY] + [HEARD] * (len(eqn.invars) - 1))
        elif eqn.primitive.name in SUMS | SAME | {"transpose"}:
            gets(eqn.invars, [furthest] * len(eqn.invars))
        elif inner:
            # What one step of a loop returns, the next may take.
            ends = [HEARD] * len(after) if eqn.primitive.name == "scan" else after
            gets(eqn.invars[: -len(inner[0].invars)], [HEARD] * (len(eqn.invars) - len(inner[0].invars)))
            for body in inner:
                gets(eqn.invars[-len(body.invars) :], _fates(body, ends))
        else:
            gets(eqn.invars, [HEARD] * len(eqn.invars))
    return [known.get(v, NOWHERE) for v in jaxpr.invars]


def _inside(eqn: Any) -> list[Any]:
    """The programs in a call, a scan or a cond; they take its last operands and return what it returns."""
    inner = [getattr(each, "jaxpr", each) for each in core.jaxprs_in_params(eqn.params)]
    takes = {len(each.invars) for each in inner}
    returns = {len(each.outvars) for each in inner} | {len(eqn.outvars)}
    fits = len(takes) == len(returns) == 1 and 0 < max(takes) <= len(eqn.invars)
    return inner if fits else []
