"""On paper: what synchronised statistics cost in a training step of ResNet-50 on many chips.

Each norm waits for its all-reduces, for what follows needs the statistics: nothing hides them. The all-reduce of the
gradient, beside them, can hide behind the backward pass.
"""

from __future__ import annotations

from typing import NamedTuple

from experiments.bench.scaling import resnet50
from experiments.bench.scaling.interconnects import SYSTEMS, System, all_reduce
from experiments.harness.tables import Table

CHIPS = 1024
# Images on each chip: 32,768 in all, as in the fastest published runs.
BATCH = 32
NOTE = (
    "On paper means by a formula, latency + 2 (n - 1)/n * bytes / bandwidth for every all-reduce, not by a run. The "
    "norms wait one after the other, and nothing hides it; the all-reduce of the gradient can hide behind the backward "
    "pass. Latency and rates are published figures or assumptions, `experiments/bench/scaling/interconnects.py` says "
    "which. A pod of TPU v5e has 256 chips."
)


class Sum(NamedTuple):
    """An all-reduce of a layer: numbers of a channel, bytes of a number, whether each chip sends a row of its own."""

    numbers: int
    width: int = 4
    rows: bool = False


# What the compiled programs of a layer send for bfloat16 data, as `sent` lists it; a test compares them.
PROGRAMS: dict[str, tuple[Sum, ...]] = {
    "jaxbn, jit": (Sum(3, width=2), Sum(2), Sum(2)),
    "jaxbn, axis_name": (Sum(4, rows=True), Sum(2)),
    "linen": (Sum(2), Sum(3)),
    "linen, stable": (Sum(1), Sum(1), Sum(1), Sum(3)),
}


def statistics(system: System, chips: int, sums: tuple[Sum, ...]) -> float:
    """Seconds that the norms of a step wait, over groups of so many chips."""
    return sum(
        all_reduce(system.interconnect, chips, channels * numbers * width * (chips if rows else 1))
        for channels in resnet50.channels()
        for numbers, width, rows in sums
    )


def compute(system: System) -> float:
    """Seconds of a step without waiting, at the published rate."""
    return BATCH / system.images


def tables() -> list[Table]:
    """What the model says."""
    norms, channels = len(resnet50.channels()), sum(resnet50.channels())
    return [
        Table(
            f"On paper: ms that the {norms} norms ({channels:,} channels) of ResNet-50 wait in a step on {CHIPS:,} "
            "chips, and as part of the compute step",
            ["statistics by", *SYSTEMS],
            [[name, *(_cell(s, CHIPS, sums) for s in SYSTEMS.values())] for name, sums in PROGRAMS.items()],
        ),
        Table(
            "On paper: the same over groups of so many chips, each with the three all-reduces of jaxbn under jit",
            ["chips", *SYSTEMS],
            [
                [f"{chips:,}", *(_cell(s, chips, PROGRAMS["jaxbn, jit"]) for s in SYSTEMS.values())]
                for chips in (1, 8, 64, 256, CHIPS)
            ],
        ),
        Table(
            "On paper: what it stands beside",
            ["", *SYSTEMS],
            [
                ["chips", *(f"{max(s.interconnect.spans):,}" for s in SYSTEMS.values())],
                ["latency of an all-reduce, us", *(f"{_latency(s) * 1e6:.1f}" for s in SYSTEMS.values())],
                ["bandwidth, GB/s", *(f"{_bandwidth(s) / 1e9:.0f}" for s in SYSTEMS.values())],
                ["all-reduce of the gradient, ms", *(f"{_gradient(s) * 1e3:.2f}" for s in SYSTEMS.values())],
                [f"compute step of {BATCH} images a chip, ms", *(f"{compute(s) * 1e3:.1f}" for s in SYSTEMS.values())],
            ],
        ),
    ]


def _cell(system: System, chips: int, sums: tuple[Sum, ...]) -> str:
    if chips > max(system.interconnect.spans):
        return ""
    seconds = statistics(system, chips, sums)
    return f"{seconds * 1e3:.2f} ({seconds / compute(system):.0%})"


def _latency(system: System) -> float:
    return system.interconnect.latency(max(system.interconnect.spans))


def _bandwidth(system: System) -> float:
    return system.interconnect.bandwidth(max(system.interconnect.spans))


def _gradient(system: System) -> float:
    return all_reduce(system.interconnect, max(system.interconnect.spans), 4 * resnet50.parameters())
