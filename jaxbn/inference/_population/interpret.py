"""An interpreter of traced programs that looks at every marked value.

It runs the program as it is, or with every batch norm using the statistics of its batch, as in training. Beside each
value it knows from which input it comes unchanged, so that the statistics of a batch norm are found among the variables
by themselves, whatever the model calls them; and after which inputs it comes, so that it is known which batch norm
precedes which.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend import core

from jaxbn._pivoted import AxisName
from jaxbn.inference._calls import called
from jaxbn.inference._population import checks as _checks
from jaxbn.inference._population.added import SAME, added, carried
from jaxbn.inference._population.dropout import dropout_p
from jaxbn.inference._population.mark import mark_p
from jaxbn.inference._population.nested import DROPOUT, RANDOM, RULES, Known, Sighting, all_after, manual_axes
from jaxbn.inference._population.seen import look
from jaxbn.inference._population.trained import as_in_training

_DRAWS = {"random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform"}


class How(NamedTuple):
    """How a program is run.

    Attributes:
        axis_name: the mapped axes over which the batch is spread, or `None`.
        every_axis: whether these are all axes of a shard_map.
        in_training: whether batch norms use the statistics of their batch.
    """

    axis_name: AxisName | None = None
    every_axis: bool = False
    in_training: bool = False


def interpret(
    jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Known], how: How
) -> tuple[list[Known], list[Sighting]]:
    """The outputs of a program, and what its marks have seen, in the order of the calls."""
    env: dict[Any, Known] = dict(zip(jaxpr.constvars, map(Known, consts), strict=True))
    env |= zip(jaxpr.invars, inputs, strict=True)
    sightings: list[Sighting] = []
    for eqn in jaxpr.eqns:
        given = [Known(v.val) if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
        outputs, found = _step(eqn, given, how)
        sightings += found
        env |= zip(eqn.outvars, outputs, strict=True)
    return [Known(v.val) if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars], sightings


def _step(eqn: Any, given: list[Known], how: How) -> tuple[list[Known], list[Sighting]]:
    name, inner = eqn.primitive.name, list(core.jaxprs_in_params(eqn.params))
    if eqn.primitive is mark_p:
        return _marked(eqn, given, how)
    if eqn.primitive is dropout_p:
        return [given[0]._replace(after=given[0].after | {DROPOUT})], []
    call = called(eqn)
    if call is not None and (name in ("jit", "pjit") or _is_marked(call[0])):
        return interpret(*call, given, how)
    if not any(map(_is_marked, inner)):
        return _plain(eqn, given), []
    if name == "shard_map" and how.axis_name is None:
        if not how.every_axis:
            raise _checks.mapped_axis(sorted(manual_axes(eqn)))
        how = how._replace(axis_name=tuple(sorted(manual_axes(eqn))))
    if name not in RULES:
        raise _checks.opened(name)
    return RULES[name](functools.partial(interpret, how=how), eqn, given)


def _marked(eqn: Any, given: list[Known], how: How) -> tuple[list[Known], list[Sighting]]:
    x, mean, var, *others = given
    weights, axes, settings = others[0].value if others else None, eqn.params["axes"], eqn.params["settings"]
    seen = look(x.value, weights, axes, how.axis_name)
    biases = frozenset(view.leaf for view in x.added if set(view.axes) <= set(axes))
    sighting = Sighting(mean.origin, var.origin, x.after, biases, settings, seen)
    x = x._replace(after=x.after - {DROPOUT})
    if how.in_training:
        value = as_in_training(x.value, seen.values, mean.value, var.value, axes, settings.epsilon or 0.0)
        x = Known(value, None, x.after, None, x.added)
    return [x], [sighting]


def _plain(eqn: Any, given: list[Known]) -> list[Known]:
    outputs = eqn.primitive.bind(*(g.value for g in given), **eqn.primitive.get_bind_params(eqn.params))
    outputs = outputs if eqn.primitive.multiple_results else [outputs]
    # A real mean may be made complex, as its data are.
    sources = given[:1] if eqn.primitive.name == "complex" else given if eqn.primitive.name in SAME else []
    origins = [s.origin for s in sources if s.origin and s.value.size == outputs[0].size]
    after = all_after(given) | _met(eqn)
    if len(outputs) != 1:
        return [Known(out, None, after) for out in outputs]
    views, sums = [g.view for g in given], [g.added for g in given]
    return [
        Known(
            outputs[0],
            origins[0] if len(origins) == 1 else None,
            after,
            carried(eqn, views[0]) if views else None,
            added(eqn, views, sums),
        )
    ]


def _met(eqn: Any) -> frozenset[int]:
    """What is inside of an operation, of what a value can come after."""
    if eqn.primitive.name in _DRAWS:
        return frozenset([RANDOM])
    if eqn.primitive is dropout_p:
        return frozenset([DROPOUT])
    return frozenset().union(*(_met(each) for jaxpr in core.jaxprs_in_params(eqn.params) for each in jaxpr.eqns))


def _is_marked(jaxpr: Any) -> bool:
    return any(eqn.primitive is mark_p or any(map(_is_marked, core.jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)
