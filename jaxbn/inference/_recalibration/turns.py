"""The order in which batch norms get new statistics: which of those met so far has its turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from jaxbn.inference._population.program import Key, Layer

Order = Literal["layers", "pass"]


class Turns:
    """The batch norms in the order of their calls, of which each batch may show others.

    Args:
        order: `"pass"` for all at once, `"layers"` for each when all that come before it are done.
    """

    def __init__(self, order: Order) -> None:
        self.order, self.layers = order, list[Layer]()

    def meet(self, called: Iterable[Layer]) -> None:
        """What is new stands before what it is called before."""
        place, keys = len(self.layers), [layer.key for layer in self.layers]
        for layer in reversed([*called]):
            if layer.key in keys:
                place = keys.index(layer.key)
                self.layers[place] = self.layers[place].united(layer)
            else:
                self.layers.insert(place, layer)
                keys.insert(place, layer.key)

    def now(self, done: Collection[Key]) -> list[Key]:
        """Those that are not done; the first of them always has its turn."""
        return [
            layer.key
            for place, layer in enumerate(self.layers)
            if layer.key not in done and (self.order == "pass" or not self._waits(layer, place, done))
        ]

    def _waits(self, layer: Layer, place: int, done: Collection[Key]) -> bool:
        # Of two layers that come after each other, the first is the one that is called first.
        return any(set(before.key) & layer.after and before.key not in done for before in self.layers[:place])
