"""One name for each variable, and one for the layer that it belongs to: the same in all reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import jax

from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState

# Of the only layer, whose variables have no name before their own.
NAMELESS = "batch_norm"
# In these Flax keeps variables of a layer apart.
_COLLECTIONS = ("params", "batch_stats")

Line = TypeVar("Line")


def variable_names(tree: Any) -> list[str]:
    """One name for each leaf, which reads like a path; two leaves never share one."""
    names: list[str] = []
    met: Counter[str] = Counter()
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        # The leaves of Flax's nnx are the values of variables.
        name = _joined(path).removesuffix("/value") or "variables"
        met[name] += 1
        names.append(name if met[name] == 1 else f"{name}_{met[name]}")
    return names


def layer_names(tree: Any) -> list[str]:
    """The layer of each leaf: its path without its own name, and without what tells parameters from statistics."""
    parts = _parts(tree)
    parents = [name.rpartition("/")[0] for name in variable_names(tree)]
    return [parts.get(parent, _without_collection(parent)) for parent in parents]


def line_of(name: str, names: Sequence[str], lines: Sequence[Line]) -> Line:
    """The line of a report that has this name."""
    if name not in names:
        there = ", ".join([*map(repr, names[:9]), *(["..."] if len(names) > 9 else [])]) or "none"
        raise KeyError(f"`name` must be that of a batch norm, here {there}, got {name!r}; print(report) shows all.")
    return lines[names.index(name)]


def _parts(tree: Any) -> dict[str, str]:
    """By the paths of parameters and states of functional layers, the layers.

    The two of one layer lie in places that differ in one step, as in `{"norm": (params, state)}`.
    """
    nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda n: isinstance(n, BatchNormParams | BatchNormState))
    params, states = (
        [tuple(_joined((step,)) for step in path) for path, node in nodes if isinstance(node, kind)]
        for kind in (BatchNormParams, BatchNormState)
    )
    found = {"/".join(place): _without_collection("/".join(place)) or NAMELESS for place in [*params, *states]}
    for place in states:
        of_state = [other for other in params if _is_one_step_apart(place, other)]
        of_params = [other for other in states for own in of_state if _is_one_step_apart(own, other)]
        if len(of_state) == len(of_params) == 1:
            shared = [a for a, b in zip(place, of_state[0], strict=True) if a == b]
            found |= dict.fromkeys(map("/".join, (place, of_state[0])), "/".join(shared) or NAMELESS)
    return found


def _is_one_step_apart(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    return len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1


def _without_collection(place: str) -> str:
    steps = place.split("/")
    collection = next((name for name in _COLLECTIONS if name in steps), None)
    if collection is None:
        return place
    steps.remove(collection)
    return "/".join(steps) or NAMELESS


def _joined(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
