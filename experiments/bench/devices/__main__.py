"""What batch norm costs on several devices.

Takes a minute on 2 cores; docs/speed.md has the results. For example:
    python -m experiments.bench.devices --shape 64 100 --ways jit pmap

The devices are those of a CPU: a process that sees one and a process that sees four take turns. Ours beside Flax's
layer, default and with `use_fast_variance=False`, in training, float32, forward and backward: the gradients by data,
scale and bias of a loss of the output. With `jit` the batch lies on one device, whatever the process sees, with
`jit-sharded` on all. In `shard_map`, with and without its check, in `pmap`, and in `vmap`, of four members on one
device, the layers have an `axis_name`. Medians over rounds, compilation apart, and the others' times as multiples of
ours. Collectives are counted in the compiled programs. Four devices on 2 cores are noisy.
Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console

from experiments.bench import turns
from experiments.bench.devices.calls import prepare, turn
from experiments.bench.processes import processes
from experiments.bench.ways import LAYERS, MEMBERS, MODES
from experiments.harness import config, program, results
from experiments.harness.environment import describe_environment
from experiments.harness.errors import UserError
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

SEEN = (1, MEMBERS)
Way = Literal["jit", "jit-sharded", "shard_map", "shard_map-unchecked", "pmap", "vmap"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    shape: tuple[int, ...] = (64, 32, 32, 32)
    """Of the data, the features last."""
    ways: tuple[Way, ...] = get_args(Way)
    """How the step is spread over the devices."""
    rounds: int = 25
    """How often everyone has a turn; the median counts."""
    least: float = 0.05
    """Seconds that a turn takes at least."""
    out: Path = Path("results/devices")
    """The folder for the results."""


def measure(options: Options, console: Console) -> tuple[list[dict[str, Any]], dict[str, object]]:
    """What `prepare` tells of every way and layer, with the milliseconds of all rounds; the environment."""
    with processes(SEEN) as pools, progress(console, "rounds", options.rounds, still=True) as on_progress:
        environment = pools[1].submit(describe_environment).result()
        measured = {n: pool.submit(prepare, options.shape, options.ways).result() for n, pool in pools.items()}
        for number in range(options.rounds):
            for n, pool in pools.items():
                times = pool.submit(turn, options.least, number).result()
                for m in measured[n]:
                    m.setdefault("milliseconds", []).append(times[m["way"], m["layer"]])
            console.print(f"round {number + 1} of {options.rounds}")
            on_progress(number + 1)
    return [m for n in SEEN for m in measured[n]], environment


def tables(measured: list[dict[str, Any]]) -> str:
    """Markdown: times and ratios, collectives, time to compile, and what more devices change for one."""
    rows: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for m in measured:
        rows.setdefault((m["way"], m["devices"]), {})[m["layer"]] = m
    names = list(LAYERS)
    head = ["way", "devices seen"]
    times, sent, compiling = [], [], []
    for (way, devices), layers in rows.items():
        label = [way, f"{devices}"]
        ms = [statistics.median(layers[name]["milliseconds"]) for name in names]
        times.append([*label, *(f"{t:.2f}" for t in ms), *(f"{t / ms[0]:.2f}" for t in ms[1:])])
        sent.append([*label, *(" / ".join(f"{layers[name]['collectives'][mode]}" for mode in MODES) for name in names)])
        compiling.append([*label, *(f"{layers[name]['seconds'][MODES[1]]:.2f}" for name in names)])
    timed = [*head, *(f"{n}, ms" for n in names), *(f"{n} / {names[0]}" for n in names[1:])]
    found = [
        Table("forward+backward, milliseconds, and the time of the others / ours", timed, times),
        Table("collectives, forward / forward+backward", [*head, *names], sent),
        Table("forward+backward, seconds to trace, lower and compile", [*head, *names], compiling),
    ]
    if ("jit", 1) in rows:
        found.append(alone_table(*(rows["jit", n] for n in SEEN)))
    return markdown(found)


def alone_table(one: dict[str, dict[str, Any]], several: dict[str, dict[str, Any]]) -> Table:
    """What a call on one device owes to the devices that it does not use."""

    def ratio(name: str) -> float:
        return statistics.median(several[name]["milliseconds"]) / statistics.median(one[name]["milliseconds"])

    same = {name: "yes" if one[name]["digest"] == several[name]["digest"] else "no" for name in LAYERS}
    body: list[Sequence[str]] = [[name, same[name], f"{ratio(name):.2f}"] for name in LAYERS]
    title = f"jit: a process that sees {SEEN[1]} devices beside one that sees {SEEN[0]}"
    return Table(title, ["", "same bits", "time"], body)


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be measured, before any work."""
    shape = options.shape
    if len(shape) < 2 or min(shape) < 1 or shape[0] % MEMBERS:
        raise UserError(f"`--shape` must be examples, a multiple of {MEMBERS}, and features, got {[*shape]}.")
    config.require_some("--ways", options.ways, get_args(Way))
    turns.require(options.rounds, options.least)
    config.require_writable("--out", options.out)


def work(options: Options, console: Console) -> None:
    """Measure, and write the tables."""
    check(options)
    measured, environment = measure(options, console)
    text = tables(measured)
    if "pmap" in options.ways and all(m["way"] != "pmap" for m in measured):
        text += "\nWithout `pmap`, whose end this JAX announces.\n"
    found = {"shape": [*options.shape], "measured": measured}
    results.write_summary(options.out, found, text, environment=environment)
    console.print("\n" + text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
