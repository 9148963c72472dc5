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


def shown(path: Path) -> str:
    return "/".join(map(str, steps(path)))


def descend(argument: str, tree: Any, path: Path) -> Mapping[Any, Any]:
    """What lies at the path; an empty dict if nothing does."""
    node: Any = _checks.mapping(argument, tree)
    for step in steps(path):
        step = _key(node, step)
        if not isinstance(node, Mapping) or step not in node:
            return {}
        node = node[step]
    return _checks.mapping(f"{argument} at {shown(path)!r}", node)


def put(tree: Mapping[Any, Any], path: Path, leaf: Mapping[str, Any]) -> dict[Any, Any]:
    """The tree with what is in `leaf` at the path; nothing in the old one is changed."""
    if not (way := steps(path)):
        return {**tree, **leaf}
    first = _key(tree, way[0])
    return {**tree, first: put(tree.get(first, {}), way[1:], leaf)}


def held(layer: Mapping[Any, Any]) -> dict[str, Any]:
    """The parts of a batch norm that are there."""
    keys = (FLAX.scale, FLAX.bias, FLAX.mean, FLAX.var, COUNTING.count)
    return {key: layer[key] for key in keys if key is not None and layer.get(key) is not None}


def as_there(parts: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The parts in the dtypes of those that they replace, as where a framework loads weights into a model."""
    return {name: part.astype(getattr(old[name], "dtype", part.dtype), copy=False) for name, part in parts.items()}


def layers(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[str]:
    """The paths at which there are running statistics."""
    if isinstance(tree, Mapping):
        if FLAX.mean in tree and FLAX.var in tree:
            yield shown(path)
        for step, branch in tree.items():
            yield from layers(branch, (*path, step))


def _key(node: Any, step: str | int) -> str | int:
    """The step as it is called there: nnx counts the members of a list by ints."""
    decimal = isinstance(node, Mapping) and step not in node and isinstance(step, str) and step.isdecimal()
    return int(step) if decimal and int(step) in node else step
