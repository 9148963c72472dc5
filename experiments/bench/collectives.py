"""What the devices of a compiled program send each other, read from its text (HLO)."""

from __future__ import annotations

import dataclasses
import math
import re

from experiments.bench.ahead_of_time.program import ARRAY, BYTES

OPERATIONS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
LINE = re.compile(rf"= (.*) ({OPERATIONS})(?:-start)?\(")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation at which the devices wait for each other, and the arrays that it makes."""

    operation: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    """Dtype and shape of each."""

    @property
    def bytes(self) -> int:
        """Of its results on one device."""
        return round(sum(BYTES[dtype] * math.prod(shape) for dtype, shape in self.arrays))

    def __str__(self) -> str:
        arrays = [f"{dtype}[{','.join(map(str, shape))}]" for dtype, shape in self.arrays]
        return f"{self.operation} of {' and '.join(arrays)}"


def collectives(text: str) -> list[Collective]:
    """The collectives of a program's text, in its order."""
    found = []
    for results, operation in LINE.findall(text):
        arrays = [(dtype, tuple(int(n) for n in sizes.split(",") if n)) for dtype, sizes, _ in ARRAY.findall(results)]
        found.append(Collective(operation, tuple(arrays)))
    return found
