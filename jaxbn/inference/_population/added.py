"""Which inputs of a program were added to a value last, as they are or broadcast.

A batch norm takes the mean away, and with it whatever was added to all samples alike: such an input gets no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

# What changes neither values nor their order.
SAME = {"convert_element_type", "copy", "copy_p", "name", "reshape", "squeeze", "broadcast_in_dim", "expand_dims"}
SAME |= {"device_put", "sharding_constraint", "reshard", "pvary", "pcast", "optimization_barrier", "stop_gradient"}
SUMS = {"add", "add_any", "sub"}


class View(NamedTuple):
    """An input, broadcast.

    Attributes:
        leaf: its number.
        axes: along which it varies.
    """

    leaf: int
    axes: tuple[int, ...]

    @classmethod
    def of(cls, leaf: int, value: Any) -> View:
        return cls(leaf, tuple(axis for axis, size in enumerate(value.shape) if size > 1))

    def step(self) -> View:
        """What a scan over the first axis takes of it."""
        return View(self.leaf, tuple(axis - 1 for axis in self.axes if axis > 0))


def carried(eqn: Any, view: View | None) -> View | None:
    """The same input behind an operation that changes no values, or `None`."""
    if view is None or not (eqn.primitive.name in SAME or eqn.primitive.name == "transpose"):
        return None
    axes = [_axis_after(eqn, axis) for axis in view.axes]
    return None if None in axes else View(view.leaf, tuple(a for a in axes if a is not None))


def added(eqn: Any, views: Sequence[View | None], sums: Sequence[frozenset[View]]) -> frozenset[View]:
    """What was added to the result, given of each operand what it is a view of and what was added to it."""
    if eqn.primitive.name in SUMS:
        return frozenset().union(*sums, {view for view in views if view is not None})
    moved = [carried(eqn, view) for view in (sums[0] if sums else ())]
    return frozenset(view for view in moved if view is not None)


def _axis_after(eqn: Any, axis: int) -> int | None:
    name, before, after = eqn.primitive.name, eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    if name == "transpose":
        return eqn.params["permutation"].index(axis)
    if name == "broadcast_in_dim":
        return eqn.params["broadcast_dimensions"][axis]
    if before == after:
        return axis
    # Where as many values lie before it, and as many in it.
    start = math.prod(before[:axis])
    places = (a for a, size in enumerate(after) if size == before[axis] and math.prod(after[:a]) == start)
    return next(places, None)
