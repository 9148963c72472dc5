"""What batch norm costs on many devices.

Takes 6 minutes on 2 cores; docs/scaling.md has the results. For example:
    python -m experiments.bench.scaling --parts times --devices 1 4

Ours beside Flax's layer, default and with `use_fast_variance=False`. Four parts:

- times: a training step of a small convolutional net under plain `jit`, its batch sharded over 1 to 8 virtual CPU
  devices, each number of devices in a process of its own. Strong scaling keeps the whole batch, weak scaling that of a
  device. The devices share the cores of this machine: there is nothing to gain, only what partitioning and collectives
  add to see, by the time and, free of other work on the machine, by the CPU time.
- collectives: what one layer sends, forward and with the backward pass, read from the text of its program for 4 CPU
  devices: under plain `jit` with a sharded batch, and in `shard_map` with an `axis_name`. Also of a ghost norm whose
  groups are what each device holds.
- tpu: the same compiled ahead of time for TPUs that are not here, up to whole pods. Without their compiler the part is
  left out: `pip install -e '.[aot-tpu]'`.
- paper: what the statistics of a ResNet-50 cost in a step on 1,024 chips, by the published latency and bandwidth of
  their interconnects; `experiments/bench/scaling/interconnects.py` has formula, constants and sources.

Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Console

from experiments.bench import turns
from experiments.bench.processes import processes
from experiments.bench.scaling import paper
from experiments.bench.scaling.report import CAN, NET, scaling_tables, sent_tables
from experiments.bench.scaling.sent import TPU, compiled_for, compiler_is_there, here
from experiments.bench.scaling.training import prepare, turn
from experiments.harness import config, program, results
from experiments.harness.environment import describe_environment
from experiments.harness.errors import UserError
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

Part = Literal["times", "collectives", "tpu", "paper"]
SEEN = 4
TOPOLOGY = re.compile(r"\w+:\d+(x\d+)+")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to do."""

    parts: tuple[Part, ...] = get_args(Part)
    """Which of the four."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of virtual devices, for the times; the first is what the others are compared with."""
    batch: int = 256
    """Of all devices together in strong scaling; in weak scaling, of the largest number of devices."""
    topologies: tuple[str, ...] = (
        *("v5e:2x2", "v5e:4x4", "v5e:4x8", "v5e:8x8", "v5e:8x16", "v5e:16x16", "v5e:16x32"),
        *("v3:32x32", "v4:8x8x16", "v6e:16x16", "v5p:2x2x1", "v5p:4x4x4", "v5p:4x8x8", "v5p:8x8x16", "v5p:16x20x28"),
    )
    """Of TPUs to compile for; of v3 and v4 every chip has two devices."""
    rounds: int = 10
    """How often everyone has a turn; the median counts."""
    least: float = 0.1
    """Seconds that a turn takes at least."""
    out: Path = Path("results/scaling")
    """The folder for the results."""


def measure(options: Options, console: Console) -> list[dict[str, Any]]:
    """What `prepare` tells of every kind, number of devices and layer, with the times of all rounds."""
    most = max(options.devices)
    with processes(options.devices) as pools, progress(console, "rounds", options.rounds, still=True) as on_progress:
        measured = {}
        for n, pool in pools.items():
            batches = {"strong": options.batch, "weak": options.batch // most * n}
            measured[n] = pool.submit(prepare, n, batches).result()
        for number in range(options.rounds):
            for n, pool in pools.items():
                for clock, times in pool.submit(turn, options.least, number).result().items():
                    for m in measured[n]:
                        m.setdefault(clock, []).append(times[m["kind"], m["layer"]])
            console.print(f"round {number + 1} of {options.rounds}")
            on_progress(number + 1)
    found = [m for n in options.devices for m in measured[n]]
    one = {m["layer"]: m["variables"] for m in measured[options.devices[0]] if m["kind"] == "strong"}
    for m in found:
        variables = np.array(m.pop("variables"))
        if m["kind"] == "strong":
            m["apart"] = float(np.abs(variables - one[m["layer"]]).max())
    return found


def environment() -> dict[str, object]:
    """As a process with CPU devices sees it; this one has opened none, and the TPU's compiler may be installed."""
    with processes((1,)) as pools:
        return pools[1].submit(describe_environment).result()


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be done, before any work."""
    config.require_some("--parts", options.parts, get_args(Part))
    devices = options.devices
    if len(devices) < 2 or list(devices) != sorted({*devices}) or devices[0] < 1:
        raise UserError(f"`--devices` must be several numbers of devices in ascending order, got {[*devices]}.")
    if options.batch < 1 or any(options.batch % n for n in devices):
        raise UserError(f"`--batch` must be a multiple of each of `--devices` {[*devices]}, got {options.batch}.")
    for topology in options.topologies:
        if not TOPOLOGY.fullmatch(topology):
            raise UserError(f"`--topologies` must be a TPU and its sizes, such as v5e:4x4, got {topology}.")
    turns.require(options.rounds, options.least)
    config.require_writable("--out", options.out)


def work(options: Options, console: Console) -> None:
    """Do all parts, and write the tables."""
    check(options)
    tables: list[Table] = []
    notes: list[str] = []
    found: dict[str, Any] = {}
    if "times" in options.parts:
        found["times"] = measure(options, console)
        tables += scaling_tables(found["times"])
        notes += [NET, CAN]
    places = []
    if "collectives" in options.parts:
        with processes((SEEN,)) as pools:
            places.append(pools[SEEN].submit(here).result())
    if "tpu" in options.parts and compiler_is_there():
        with progress(console, "topologies", len(options.topologies)) as on_progress:
            for number, topology in enumerate(options.topologies, 1):
                places.append(compiled_for(topology))
                console.print(f"{topology}: {places[-1].get('failed', 'compiled')}")
                on_progress(number)
    elif "tpu" in options.parts:
        notes.append(f"Without TPUs, whose compiler is not installed; `pip install -e '.[{TPU.extra}]'`.")
    if places:
        found["sent"] = places
        tables += sent_tables(places)
    if "paper" in options.parts:
        tables += paper.tables()
        notes.append(paper.NOTE)
    text = markdown(tables, notes)
    results.write_summary(options.out, found, text, environment=environment())
    console.print("\n" + text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
