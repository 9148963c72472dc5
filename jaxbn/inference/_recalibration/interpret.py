"""An interpreter of traced programs that looks at every marked value.

It runs the program as it is. Beside each value it knows from which input it comes unchanged, so that the statistics of
a batch norm are found among the variables by themselves, whatever the model calls them; and after which inputs it
comes, so that it is known which batch norm precedes which.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from jax.extend import core

from jaxbn._pivoted import AxisName
from jaxbn.inference._recalibration import checks as _checks
from jaxbn.inference._recalibration.mark import mark_p
from jaxbn.inference._recalibration.nested import RULES, Known, Sighting, all_after, manual_axes
from jaxbn.inference._recalibration.seen import look

# What changes neither values nor their order.
_SAME = {"convert_element_type", "copy", "copy_p", "name", "reshape", "squeeze", "broadcast_in_dim", "expand_dims"}
_SAME |= {"device_put", "sharding_constraint", "reshard", "pvary", "pcast", "optimization_barrier", "stop_gradient"}
_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call"}
_CALLS |= {"custom_vjp_call", "custom_vmap_call"}


def interpret(
    jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Known], axis_name: AxisName | None
) -> tuple[list[Known], list[Sighting]]:
    """The outputs of a program, and what its marks have seen, in the order of the calls."""
    env: dict[Any, Known] = dict(zip(jaxpr.constvars, map(Known, consts), strict=True))
    env |= zip(jaxpr.invars, inputs, strict=True)
    sightings: list[Sighting] = []
    for eqn in jaxpr.eqns:
        given = [Known(v.val) if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
        outputs, found = _step(eqn, given, axis_name)
        sightings += found
        env |= zip(eqn.outvars, outputs, strict=True)
    return [Known(v.val) if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars], sightings


def _step(eqn: Any, given: list[Known], axis_name: Any) -> tuple[list[Known], list[Sighting]]:
    name, inner = eqn.primitive.name, list(core.jaxprs_in_params(eqn.params))
    if eqn.primitive is mark_p:
        x, mean, var, *weights = given
        seen = look(x.value, weights[0].value if weights else None, eqn.params["axes"], axis_name)
        return [x], [Sighting(mean.origin, var.origin, x.after, seen)]
    if name in ("jit", "pjit") or (any(map(_is_marked, inner)) and name in _CALLS):
        return interpret(inner[0], _consts(eqn.params), given, axis_name)
    if not any(map(_is_marked, inner)):
        return _plain(eqn, given), []
    if name == "shard_map" and axis_name is None:
        raise _checks.mapped_axis(sorted(manual_axes(eqn)))
    if name not in RULES:
        raise _checks.opened(name)
    return RULES[name](functools.partial(interpret, axis_name=axis_name), eqn, given)


def _plain(eqn: Any, given: list[Known]) -> list[Known]:
    outputs = eqn.primitive.bind(*(g.value for g in given), **eqn.primitive.get_bind_params(eqn.params))
    outputs = outputs if eqn.primitive.multiple_results else [outputs]
    # A real mean may be made complex, as its data are.
    sources = given[:1] if eqn.primitive.name == "complex" else given if eqn.primitive.name in _SAME else []
    origins = [s.origin for s in sources if s.origin and s.value.size == outputs[0].size]
    after = all_after(given)
    return [Known(out, origins[0] if len(origins) == len(outputs) == 1 else None, after) for out in outputs]


def _is_marked(jaxpr: Any) -> bool:
    return any(eqn.primitive is mark_p or any(map(_is_marked, core.jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)


def _consts(params: Any) -> Sequence[Any]:
    closed = next((p for p in params.values() if isinstance(p, core.ClosedJaxpr)), None)
    return () if closed is None else closed.consts
