"""What became of every norm, as data and as a table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxbn.inference._layers import line_of


class FoldedNorm(NamedTuple):
    """What became of one norm: `into` a linear operation, or `kept` for a reason.

    Attributes:
        name: the layer that its variables belong to.
        variables: the paths of its variables.
        into: the linear operation that it went into, or `None`.
        kept: why it is still there, or `None`.

    Example:
        >>> norm = FoldedNorm("norm", ("norm/scale", "norm/var"), into="dot dense/kernel 8x16", kept=None)
        >>> print(norm.into)
        dot dense/kernel 8x16

    Reference:
        `jaxbn.inference.fold`, which makes it.
    """

    name: str
    variables: tuple[str, ...]
    into: str | None
    kept: str | None


@dataclasses.dataclass(frozen=True)
class FoldReport:
    """What became of every norm; `print` shows it as a table.

    `error = max |folded - original| / max |original|` on the sample, of the output that comes closest to its bound.

    Attributes:
        norms: one per norm, in the order in which they are computed; a norm is any multiplication of unknown values by
            variables, channel by channel. `report[name]` is the first of this name.
        linear: how many linear operations with known kernels there are.
        error: the difference from the original.
        bound: what was allowed of that output.
        folded: the norms that went into a linear operation.
        kept: the norms that are still there.

    Raises:
        KeyError: `report[name]` for a norm that is not there.

    Example:
        >>> norm = FoldedNorm("norm", ("norm/scale",), None, "after relu, returned")
        >>> report = FoldReport((norm,), linear=1, error=1e-7, bound=1e-5)
        >>> print(report)
        norm  kept: after relu, returned
        0 of 1 norms folded, 1 linear operations; largest difference 1.0e-07 of the output, allowed 1e-05
        >>> print(report["norm"].kept)
        after relu, returned

    Reference:
        `jaxbn.inference.fold`, which returns it.
    """

    norms: tuple[FoldedNorm, ...]
    linear: int
    error: float = 0.0
    bound: float = 0.0

    def __getitem__(self, name: str) -> FoldedNorm:
        return line_of(name, [norm.name for norm in self.norms], self.norms)

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


def norms_among(items: Sequence[Item], layers: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The variables of each norm in a chain of products and sums: a product, and the sums that belong to it."""
    found: list[tuple[list[Item], bool]] = []
    previous: Item | None = None
    for position, item in enumerate(items):
        if item.times and item.sources:
            if previous is not None and previous.times and found and not (item.rooted and found[-1][1]):
                found[-1] = ([*found[-1][0], item], found[-1][1] or item.rooted)
            else:
                found.append(([item], item.rooted))
                own = {layer_of(name, layers) for name in item.sources}
                for before in reversed(items[:position]):
                    if before.times or not _related(before, own, layers):
                        break
                    found[-1][0].insert(0, before)
        elif (
            found
            and not item.times
            and _related(item, {layer_of(n, layers) for i in found[-1][0] for n in i.sources}, layers)
        ):
            found[-1][0].append(item)
        previous = item
    return [tuple(dict.fromkeys(name for item in group for name in item.sources)) for group, _ in found]


def _related(item: Item, modules: Iterable[str], layers: Mapping[str, str]) -> bool:
    """Whether a sum belongs to one of these modules."""
    own = {layer_of(name, layers) for name in item.sources}
    return any(a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in own for b in modules if a and b)


def layer_of(name: str, layers: Mapping[str, str]) -> str:
    """The layer of a variable, or of a constant."""
    return layers.get(name, name.rpartition("/")[0])


def common_name(names: Sequence[str], layers: Mapping[str, str]) -> str:
    """The layer that the variables belong to, the shortest if there are several; one variable is its own name."""
    found = sorted({layer_of(name, layers) for name in names} - {""}, key=len)
    return found[0] if found else re.sub(r"\s", "", ", ".join(names))
