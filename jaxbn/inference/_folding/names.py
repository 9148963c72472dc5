"""Names: of variables by their paths, of weights by the variables that they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.inference._folding.known import KnownArray
from jaxbn.inference._folding.report import Item


class Constants:
    """Names for the constants of a trace: of variables that a closure holds, and of others by their number.

    A later trace knows them by their values, and those that are equal by their order.
    """

    def __init__(self, arrays: Sequence[Any], names: Sequence[str]) -> None:
        self._variables = {id(array): name for array, name in zip(arrays, names, strict=True)}
        self._by_value: dict[str, list[str]] = {}
        self._number = 0

    def forget(self) -> None:
        """Of the variables only the names in use are still needed."""
        self._variables = {}

    def trace(self) -> Callable[[Any], str]:
        """A function from a constant to its name, for one trace."""
        met: dict[int, str] = {}
        first, left = not self._by_value, {value: list(names) for value, names in self._by_value.items()}
        # Kept, so that no other constant takes its place in memory.
        alive = []

        def name_of(array: Any) -> str:
            if id(array) not in met:
                alive.append(array)
                value = digest(array)
                known = left.get(value)
                met[id(array)] = known.pop(0) if known else self._variables.get(id(array)) or self._new()
                if first:
                    self._by_value.setdefault(value, []).append(met[id(array)])
            return met[id(array)]

        return name_of

    def _new(self) -> str:
        self._number += 1
        return f"constants/{self._number - 1}"


def digest(array: Any) -> str:
    """What tells values apart, whatever array holds them."""
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        array = jax.random.key_data(array)
    data = np.ascontiguousarray(array)
    return f"{data.dtype}{data.shape}{hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()}"


class Names:
    """Names of weights, each given once."""

    def __init__(self) -> None:
        self._of: dict[KnownArray, str] = {}
        self.known: dict[str, tuple[KnownArray, tuple[Any, ...]]] = {}

    def of(self, k: KnownArray, wanted: str, shape: tuple[Any, ...]) -> str:
        if k not in self._of:
            name, number = wanted, 2
            while name in self.known:
                name, number = f"{wanted}_{number}", number + 1
            self._of[k], self.known[name] = name, (k, shape)
        return self._of[k]


def of_value(k: KnownArray) -> str:
    """Of a known array that unknown ones meet."""
    if k.is_view or not k.sources:
        return k.sources[0] if k.sources else "number"
    return beside(k.sources, "multiplier" if k.rooted else "value")


def of_bias(kernel: KnownArray, items: Sequence[Item]) -> str:
    """Of what is added to a linear operation: of its own bias, if that comes first."""
    own = kernel.sources[0] if kernel.sources else "constant"
    parent = own.rpartition("/")[0]
    if items and not items[0].times and len(items[0].sources) == 1:
        first = items[0].sources[0]
        if first.rpartition("/")[0] == parent:
            return first
    return f"{parent}/bias" if parent else f"{own}_bias"


def beside(sources: Sequence[str], last: str) -> str:
    """A name next to that of a variable; parameters are a better place than statistics."""
    chosen = next((name for name in sources if name.startswith("params/")), sources[0])
    parent = chosen.rpartition("/")[0]
    return f"{parent}/{last}" if parent else f"{chosen}_{last}"
