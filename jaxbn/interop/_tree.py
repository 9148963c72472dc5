"""Flax's variables: nested dicts, in which a layer has a path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jaxbn.interop import _checks
from jaxbn.interop.conventions import FLAX, Convention

Path = str | Sequence[str | int]
# Our own layers keep a count beside Flax's variables, unless averaging is "ema".
COUNTING: Final = dataclasses.replace(FLAX, count="count")


def names(averaging: str) -> Convention:
    return FLAX if averaging == "ema" else COUNTING


def steps(path: Path) -> tuple[str | int, ...]:
    """`"Block_0/BatchNorm_0"` as well as `("Block_0", "BatchNorm_0")`."""
    path = _checks.path(path)
    return tuple(filter(None, path.split("/"))) if isinstance(path, str) else tuple(path)


def descend(argument: str, tree: Any, path: Path) -> Mapping[Any, Any]:
    """What lies at the path; an empty dict if nothing does."""
    node: Any = _checks.mapping(argument, tree)
    for step in steps(path):
        if isinstance(node, Mapping) and step not in node and isinstance(step, str) and step.isdecimal():
            step = int(step)  # nnx counts the members of a list by ints
        if not isinstance(node, Mapping) or step not in node:
            return {}
        node = node[step]
    return _checks.mapping(f"{argument} at {'/'.join(map(str, steps(path)))!r}", node)


def nest(path: Path, leaf: dict[str, Any]) -> dict[Any, Any]:
    tree: dict[Any, Any] = leaf
    for step in reversed(steps(path)):
        tree = {step: tree}
    return tree


def layers(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[str]:
    """The paths at which there are running statistics."""
    if isinstance(tree, Mapping):
        if FLAX.mean in tree and FLAX.var in tree:
            yield "/".join(map(str, path))
        for step, branch in tree.items():
            yield from layers(branch, (*path, step))
