"""What became of every norm, as data and as a table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class FoldedNorm(NamedTuple):
    """What became of one norm.

    Attributes:
        name: what its variables have in common.
        variables: the paths of its variables.
        into: the linear operation that it went into, or `None`.
        kept: why it is still there, or `None`.
    """

    name: str
    variables: tuple[str, ...]
    into: str | None
    kept: str | None


@dataclasses.dataclass(frozen=True)
class FoldReport:
    """What became of every norm; `print` shows it as a table.

    Attributes:
        norms: one per norm, in the order in which they are computed; a norm is any multiplication of unknown values by
            variables, channel by channel.
        linear: how many linear operations with known kernels there are.
        error: the largest difference from the original on the sample, relative to its largest output.
        bound: what was allowed.
    """

    norms: tuple[FoldedNorm, ...]
    linear: int
    error: float = 0.0
    bound: float = 0.0

    @property
    def folded(self) -> tuple[FoldedNorm, ...]:
        return tuple(norm for norm in self.norms if norm.into is not None)

    @property
    def kept(self) -> tuple[FoldedNorm, ...]:
        return tuple(norm for norm in self.norms if norm.into is None)

    def __str__(self) -> str:
        width = max((len(norm.name) for norm in self.norms), default=0)
        lines = [
            f"{norm.name:{width}}  " + (f"folded into {norm.into}" if norm.into else f"kept: {norm.kept}")
            for norm in self.norms
        ] or ["No norm depends on the variables alone; is the model in evaluation mode?"]
        count = f"{len(self.folded)} of {len(self.norms)} norms folded, {self.linear} linear operations; "
        return "\n".join(
            [*lines, f"{count}largest difference {self.error:.1e} of the output, allowed {self.bound:.0e}"]
        )


class Item(NamedTuple):
    """A known array that was multiplied with, or added to, unknown ones.

    Attributes:
        times: whether it multiplies.
        sources: the variables that it depends on.
        rooted: whether a root of them is in it.
    """

    times: bool
    sources: tuple[str, ...]
    rooted: bool


def norms_among(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """The variables of each norm in a chain of products and sums: a product, and the sums that belong to it."""
    found: list[tuple[list[Item], bool]] = []
    previous: Item | None = None
    for position, item in enumerate(items):
        if item.times and item.sources:
            if previous is not None and previous.times and found and not (item.rooted and found[-1][1]):
                found[-1] = ([*found[-1][0], item], found[-1][1] or item.rooted)
            else:
                found.append(([item], item.rooted))
                stems = {stem(name) for name in item.sources}
                for before in reversed(items[:position]):
                    if before.times or not _related(before, stems):
                        break
                    found[-1][0].insert(0, before)
        elif found and not item.times and _related(item, {stem(n) for i in found[-1][0] for n in i.sources}):
            found[-1][0].append(item)
        previous = item
    return [tuple(dict.fromkeys(name for item in group for name in item.sources)) for group, _ in found]


def _related(item: Item, stems: Iterable[str]) -> bool:
    """Whether a sum belongs to the same module."""
    own = {stem(name) for name in item.sources}
    return any(a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in own for b in stems if a and b)


def stem(name: str) -> str:
    """The module of a variable: its path without its own name, and without the collection if more is left."""
    parts = name.split("/")[:-1]
    return "/".join(parts[1:] if parts[1:] and parts[0] in ("params", "batch_stats") else parts)


def common_name(names: Sequence[str]) -> str:
    """The module that the variables belong to, the shortest if there are several; one variable is its own name."""
    stems = sorted({stem(name) for name in names} - {""}, key=len)
    return stems[0] if stems else re.sub(r"\s", "", ", ".join(names))
