"""How long an all-reduce takes on public interconnects, by latency and bandwidth.

    seconds = latency + 2 (n - 1)/n * bytes / bandwidth

- Torus: data go from neighbour to neighbour, along one dimension after the other. A dimension of `k` chips that closes
  into a ring needs k/2 hops, an open line k - 1, twice: to add up, and to tell everyone the sum. All links carry data
  at once, a ring in both directions.
- Nodes: within a node each GPU waits for the others, between nodes there is a binary tree, up and down. The bandwidth
  is that of the narrowest part, the network adapters of a node.

What the constants are, and who says so:

- TPU links: one-way bytes per second, and "typically around 1us" for a hop: J. Austin et al., How to Scale Your Model,
  2025, chapters 2 and 3, by engineers of the vendor. Google's documentation of v5e (400 GB/s per chip, both ways, 4
  ports) and v5p (1,200 GB/s, 6 ports) says 50 and 100 GB/s for a link.
- NVLink 900 GB/s per H100, both ways, and eight 400 Gb/s adapters per DGX H100: NVIDIA's data sheets, 2022.
- 6.8 us to start, 0.6 us within and 5 us between nodes for a small message: the constants with which NVIDIA's NCCL
  chooses its algorithm (NCCL 2.30, 2026, src/graph/tuning.cc, tree with protocol LL).
- Images per second of ResNet-50 in training: TPU v3, C. Ying et al., Image Classification at Supercomputer Scale,
  2018: 1.05 million on 1,024 chips. TPU v4, Google's log in MLPerf Training v1.0, 2021: 64 chips, 128 images each, four
  epochs and an evaluation in 23.2 s. H100, NVIDIA's log in MLPerf Training v3.0, 2023: 3.42 million on 768 GPUs, 42
  images each. These rates contain their own all-reduces.
- Assumptions: v5e and v5p train at the part of their peak (197 and 459 Tflop/s) that v4 reaches of its own (275); an
  all-reduce over a part of the chips does not disturb those of the other parts; smaller batches are as fast per image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Protocol

PEAK = {"v4": 275, "v5e": 197, "v5p": 459}
IMAGES = {"v3": 1.05e6 / 1024, "v4": (4 * 1281167 + 50000) / 23.2 / 64, "H100": 3.42e6 / 768}


class Interconnect(Protocol):
    """Of so many chips that work together: seconds before the first result, and bytes per second."""

    @property
    def spans(self) -> tuple[int, ...]: ...

    def latency(self, chips: int) -> float: ...

    def bandwidth(self, chips: int) -> float: ...


@dataclasses.dataclass(frozen=True)
class Torus:
    """Chips with links to their neighbours.

    Attributes:
        boxes: by the number of chips how many there are along each dimension; the last is all of the torus.
        link: bytes per second one way.
        hop: seconds from a chip to its neighbour.
    """

    boxes: Mapping[int, tuple[int, ...]]
    link: float
    hop: float = 1e-6

    @property
    def spans(self) -> tuple[int, ...]:
        return tuple(self.boxes)

    def latency(self, chips: int) -> float:
        return 2 * self.hop * sum(size / 2 if closed else size - 1 for size, closed in self._dimensions(chips))

    def bandwidth(self, chips: int) -> float:
        return self.link * sum(2 if closed else 1 for _, closed in self._dimensions(chips))

    def _dimensions(self, chips: int) -> list[tuple[int, bool]]:
        """Of each dimension with several chips their number, and whether they are a ring."""
        whole = self.boxes[max(self.boxes)]
        return [(size, size == all_) for size, all_ in zip(self.boxes[chips], whole, strict=True) if size > 1]


@dataclasses.dataclass(frozen=True)
class Nodes:
    """GPUs in nodes.

    Attributes:
        spans: numbers of GPUs, whole nodes or a part of one.
        members: GPUs of a node.
        start, within, between: seconds to start, from a GPU to the next one, and from a node to another.
        inside, outside: bytes per second one way, of a GPU within its node, and of all network adapters of a node.
    """

    spans: tuple[int, ...]
    members: int = 8
    start: float = 6.8e-6
    within: float = 0.6e-6
    between: float = 5e-6
    inside: float = 450e9
    outside: float = 8 * 50e9

    def latency(self, chips: int) -> float:
        members, nodes = self._parts(chips)
        return self.start + 2 * ((members - 1) * self.within + math.log2(nodes) * self.between)

    def bandwidth(self, chips: int) -> float:
        return self.inside if self._parts(chips)[1] == 1 else min(self.inside, self.outside)

    def _parts(self, chips: int) -> tuple[int, int]:
        return min(chips, self.members), max(1, chips // self.members)


@dataclasses.dataclass(frozen=True)
class System:
    """An interconnect, and how many images per second a chip trains."""

    interconnect: Interconnect
    images: float


TWO: dict[int, tuple[int, ...]] = {8: (2, 4), 64: (8, 8), 256: (16, 16)}
THREE: dict[int, tuple[int, ...]] = {8: (2, 2, 2), 64: (4, 4, 4), 256: (4, 8, 8), 512: (8, 8, 8), 1024: (8, 8, 16)}
SYSTEMS = {
    "TPU v3": System(Torus({**TWO, 512: (16, 32), 1024: (32, 32)}, 100e9), IMAGES["v3"]),
    "TPU v4": System(Torus(THREE, 45e9), IMAGES["v4"]),
    "TPU v5p": System(Torus(THREE, 90e9), IMAGES["v4"] * PEAK["v5p"] / PEAK["v4"]),
    "TPU v5e": System(Torus(TWO, 45e9), IMAGES["v4"] * PEAK["v5e"] / PEAK["v4"]),
    "DGX H100": System(Nodes((8, 64, 256, 512, 1024)), IMAGES["H100"]),
}


def all_reduce(interconnect: Interconnect, chips: int, size: float) -> float:
    """Seconds for an array of `size` bytes on each chip; nothing for a chip alone."""
    if chips == 1:
        return 0.0
    return interconnect.latency(chips) + 2 * (chips - 1) / chips * size / interconnect.bandwidth(chips)
