"""On paper: what synchronised statistics cost in a training step of ResNet-50 on many chips.

Each norm waits for its all-reduces, for what follows needs the statistics: nothing hides them. The all-reduce of the
gradient, beside them, can hide behind the backward pass. Ghosts of a chip wait for nothing: nobody in the step needs
the message for the running statistics, which can hide too.

Under `jit` jaxbn sends a single message forward, a row from each chip, up to as many chips as the library says; beyond
them the pivot, and then sums about it.
"""

from __future__ import annotations

from typing import NamedTuple

from experiments.bench.scaling import resnet50
from experiments.bench.scaling.interconnects import SYSTEMS, System, all_reduce
from experiments.harness.tables import Table
from jaxbn._reduce.sharing import MOST

CHIPS = 1024
# Images on each chip: 32,768 in all, as in the fastest published runs.
BATCH = 32
NOTE = (
    "On paper means by a formula, latency + 2 (n - 1)/n * bytes / bandwidth for every all-reduce, not by a run. The "
    "norms wait one after the other, and nothing hides it; the all-reduce of the gradient can hide behind the backward "
    "pass, and so can the message of ghosts for their running statistics, which nobody in the step needs. Latency and "
    "rates are published figures or assumptions, `experiments/bench/scaling/interconnects.py` says which. A pod "
    "of TPU v5e has 256 chips."
)


class Sum(NamedTuple):
    """An all-reduce of a layer: numbers of a channel, bytes of a number, whether each chip sends a row of its own."""

    numbers: int
    width: int = 4
    rows: bool = False


ROWS = (Sum(4, rows=True),)
PIVOT_AND_SUMS = (Sum(3, width=2), Sum(2))
BACKWARD = (Sum(2),)


def programs(chips: int) -> dict[str, tuple[Sum, ...]]:
    """What the data wait for in the compiled programs of a layer for bfloat16 data, as `sent` lists it.

    A test compares them. Rows count as an all-reduce, which most programs use; an all-gather would take half as long.
    """
    return {
        "jaxbn, jit": (*(ROWS if chips <= MOST else PIVOT_AND_SUMS), *BACKWARD),
        "jaxbn, axis_name": (*ROWS, *BACKWARD),
        "jaxbn, ghosts": (),
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
    """What waiting costs by the formula, and what it stands beside."""
    norms, channels = len(resnet50.channels()), sum(resnet50.channels())
    return [
        Table(
            f"On paper: ms that the {norms} norms ({channels:,} channels) of ResNet-50 wait in a step on {CHIPS:,} "
            "chips, and as part of the compute step",
            ["statistics by", *SYSTEMS],
            [[name, *(_cell(s, CHIPS, sums) for s in SYSTEMS.values())] for name, sums in programs(CHIPS).items()],
        ),
        Table(
            "On paper: the same over so many chips, by jaxbn under jit",
            ["chips", *SYSTEMS],
            [
                [f"{chips:,}", *(_cell(s, chips, programs(chips)["jaxbn, jit"]) for s in SYSTEMS.values())]
                for chips in (1, 8, 64, 256, CHIPS)
            ],
        ),
        Table(
            "On paper: ms that the statistics of jaxbn wait forward, for one message of rows / for a pivot and sums",
            ["chips", *SYSTEMS],
            [
                [f"{chips:,}", *(_cells_forward(s, chips) for s in SYSTEMS.values())]
                for chips in (8, 64, 256, 512, CHIPS)
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


def _cells_forward(system: System, chips: int) -> str:
    if chips > max(system.interconnect.spans):
        return ""
    return " / ".join(f"{statistics(system, chips, sums) * 1e3:.2f}" for sums in (ROWS, PIVOT_AND_SUMS))


def _latency(system: System) -> float:
    return system.interconnect.latency(max(system.interconnect.spans))


def _bandwidth(system: System) -> float:
    return system.interconnect.bandwidth(max(system.interconnect.spans))


def _gradient(system: System) -> float:
    return all_reduce(system.interconnect, max(system.interconnect.spans), 4 * resnet50.parameters())
