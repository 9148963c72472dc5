"""How fast every framework's batch norm is.

Takes 6 minutes on 2 cores in float32; docs/speed.md has the results. So:
    python -m experiments.bench.ops --dtypes float32

Training forward, the same with the backward pass, and evaluation; ours beside Flax, Haiku, Equinox, Keras and PyTorch,
beside the floor: the time to move the bytes that must be moved (forward 3 times the data, with the backward pass 8,
evaluation 2) at the rate of a plain copy in the same run. Scale and bias are learnt: they are arguments, and the
backward pass includes their gradients. All take turns, medians over rounds, compilation apart. "One by one" every call
returns fresh arrays, whose pages the system has to clear; "in a loop" the results of one call are the input of the next
inside one compiled program (PyTorch, which compiles nothing, calls one by one there as well). Peers that are not
installed are left out (`pip install -e '.[peers]'`). Writes `summary.json`, `summary.md` and `ops.png`.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.bench import turns
from experiments.bench.ops.calls import Call, copy_calls, jax_calls
from experiments.bench.ops.report import draw, tables
from experiments.bench.ops.torch_calls import torch_calls
from experiments.bench.peers import norms
from experiments.harness import config, program, results
from experiments.harness.progress import progress

Dtype = Literal["float32", "bfloat16"]
SHAPES = (
    (64, 100),
    (64, 28, 28, 6),
    (64, 14, 14, 16),
    (32, 14, 14, 256),
    (64, 32, 32, 32),
    (32, 56, 56, 64),
    (128, 64, 112, 112),
    (8, 512, 512, 3),
    # For accelerators: a CPU takes seconds for each call.
    (256, 56, 56, 256),
    (8192, 4096),
)
FOR_CPU = 8
CHANNEL_FIRST = {(128, 64, 112, 112)}
# How often the data is moved, at the least.
PASSES = {"forward": 3, "forward+backward": 8, "evaluation": 2}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    shapes: tuple[int, ...] = tuple(range(FOR_CPU))
    """Which shapes, counted from 0; 8 and 9 are of a size for accelerators."""
    dtypes: tuple[Dtype, ...] = get_args(Dtype)
    """Of the data."""
    rounds: int = 9
    """How often everyone has a turn; the median counts."""
    least: float = 0.02
    """Seconds that a turn takes at least."""
    out: Path = Path("results/ops")
    """The folder for the results."""


def medians(calls: dict[str, tuple[Call, int]], options: Options) -> dict[str, float]:
    """Seconds of everyone, in turns; a call stands for so many."""
    times = turns.medians({name: call for name, (call, _) in calls.items()}, rounds=options.rounds, least=options.least)
    return {name: times[name] / number for name, (_, number) in calls.items()}


def measure(shape: tuple[int, ...], dtype: str, mode: str, options: Options) -> dict[str, Any]:
    """Microseconds of everyone, and temporary memory as a multiple of the data."""
    axis = 1 if shape in CHANNEL_FIRST else -1
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.standard_normal(shape, np.float32) + mean, dtype) for mean in (1, 0))
    repeats = max(2, min(200, int(2e7 / x.size)))
    once: dict[str, tuple[Call, int]] = {}
    loop: dict[str, tuple[Call, int]] = {}
    memory = {}
    for name, norm in norms(shape, axis=axis).items():
        one, many, temporary = jax_calls(norm, mode, x, dy, repeats)
        once[name], loop[name], memory[name] = (one, 1), (many, repeats), temporary / x.nbytes
    for name, one in torch_calls(shape, dtype, axis, mode).items():
        once[name], loop[name] = (one, 1), (one, 1)
    once["copy"], loop["copy"] = ((call, n) for call, n in zip(copy_calls(x, repeats), (1, repeats), strict=True))
    found = {"one by one": medians(once, options), "in a loop": medians(loop, options)}
    for times in found.values():
        times["floor"] = times.pop("copy") * PASSES[mode] / 2
    micro = {way: {name: t * 1e6 for name, t in times.items()} for way, times in found.items()}
    return {"shape": list(shape), "dtype": dtype, "mode": mode, "microseconds": micro, "memory": memory}


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be measured, before any work."""
    config.require_positions("--shapes", options.shapes, len(SHAPES))
    config.require_some("--dtypes", options.dtypes, get_args(Dtype))
    turns.require(options.rounds, options.least)
    config.require_writable("--out", options.out)


def work(options: Options, console: Console) -> None:
    """Measure, and write the tables."""
    check(options)
    measured = []
    chosen = [*itertools.product(options.shapes, options.dtypes, PASSES)]
    with progress(console, "ops", len(chosen), still=True) as on_progress:
        for number, dtype, mode in chosen:
            measured.append(measure(SHAPES[number], dtype, mode, options))
            way = measured[-1]["microseconds"]["in a loop"]
            micro = {name: round(t, 1) for name, t in way.items()}
            console.print(f"{SHAPES[number]} {dtype} {mode} {micro}", soft_wrap=True)
            on_progress(len(measured))
    text = tables(measured)
    results.write_summary(options.out, {"measured": measured}, text)
    console.print("\n" + text, soft_wrap=True)
    draw(options.out / "ops.png", measured)


if __name__ == "__main__":
    program.leave(main())
