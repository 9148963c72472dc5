"""Named axes and the groups of their members."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from jax import lax

from jaxbn._checks.words import shown


def axis_size(axis_name: Any) -> int:
    """How many members a mapped axis has, or several have together."""
    try:
        return lax.axis_size(axis_name)
    except (NameError, TypeError, ValueError):
        raise ValueError(
            f"`axis_name` must be a mapped axis, or several in a tuple, got {shown(axis_name)}, which is none here; "
            "leave it out, also where arrays are sharded under jit, or map over it."
        ) from None


def groups_cover(groups: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """The groups as lists of ints, every member of the mapped axis in exactly one."""
    try:
        members = [[operator.index(member) for member in group] for group in groups]
    except TypeError:
        raise TypeError(f"`axis_index_groups` must be a list of lists of ints, got {shown(groups)}.") from None
    if sorted(member for group in members for member in group) != list(range(size)):
        raise ValueError(
            f"`axis_index_groups` must name each of the {size} members of the axis exactly once, got {shown(groups)}."
        )
    return members


def groups_need_axis(groups: object, axis_name: object) -> None:
    if groups is not None and axis_name is None:
        raise ValueError("`axis_index_groups` needs `axis_name`, got None; name the mapped axis, or drop the groups.")
