"""What folding gains at inference.

Takes 4 minutes on 2 cores like this; docs/inference.md has the results:
    python -m experiments.bench.inference --rounds 5

Nets in evaluation with their batch norms, and after `jaxbn.inference.fold`: the tutorial's, Flax's ResNet-18 and -50
(of Flax's sources, see `experiments.bench.drop_in`) and a depthwise net, in batches of 1, 8 and 64, in float32 and
bfloat16; beside them the same nets in PyTorch, with and without its own fusion, where installed (`pip install -e
'.[peers]'`). All take turns, medians over rounds, compilation apart. Writes `summary.json` and `summary.md`.

With `--target` nothing is run: the programs are compiled for a TPU or an H100 that is not here, and what they move is
read, as in `experiments.bench.compiled`; to a folder of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.bench import turns
from experiments.bench.ahead_of_time.targets import TARGETS, compiled, place
from experiments.bench.flax_examples import require_sources
from experiments.bench.inference.nets import Net, make_net
from experiments.bench.inference.torch_nets import torch_calls
from experiments.harness import config, program, results
from experiments.harness.environment import describe_environment
from experiments.harness.errors import UserError
from experiments.harness.placement import on_cpu
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown
from experiments.tutorial.nets import CELLS, CHANNELS_LAST
from jaxbn.inference import fold

PIXELS, PIXELS_OF_TARGETS = 64, 224
Name = Literal["mlp-bn", "conv-bn", "depthwise", "resnet18", "resnet50"]
Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    nets: tuple[Name, ...] = get_args(Name)
    """Which nets; images of 28x28 for the tutorial's, 64x64 for the others (224x224 with `--target`)."""
    batches: tuple[int, ...] = (1, 8, 64)
    """Images at once."""
    dtypes: tuple[Dtype, ...] = get_args(Dtype)
    """Of the images and the computation; the variables are in float32."""
    target: Literal["here", "tpu-v5e", "tpu-v6e", "h100"] = "here"
    """Run here, or only compile for an accelerator."""
    rounds: int = 9
    """How often everyone has a turn; the median counts."""
    least: float = 0.05
    """Seconds that a turn takes at least."""
    sources: Path = Path("flax-0.12.8")
    """Flax's sources, for the ResNets."""
    out: Path = Path("results/inference")
    """The folder for the results."""


def main(args: list[str] | None = None) -> int:
    """Measure, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be measured, before any work."""
    config.require_some("--nets", options.nets, get_args(Name))
    config.require_some("--dtypes", options.dtypes, get_args(Dtype))
    if min(options.batches, default=0) < 1:
        raise UserError(f"`--batches` must be numbers from 1 on, got {[*options.batches]}.")
    turns.require(options.rounds, options.least)
    if any(net.startswith("resnet") for net in options.nets):
        require_sources(options.sources)


def work(options: Options, console: Console) -> None:
    """Check, measure and report."""
    check(options)
    out = options.out if options.target == "here" else options.out / options.target
    config.require_writable("--out", out)
    read = reader(options)
    environment = describe_environment()
    if options.target != "here":
        console.print(f"Nothing is run on a device: these are programs compiled for {options.target}.")
        environment["device"] = f"{options.target}, compiled for, not run"
    measured = []
    chosen = [*itertools.product(options.nets, options.dtypes)]
    with progress(console, "inference", len(chosen), still=True) as on_progress:
        for number, (name, dtype) in enumerate(chosen, 1):
            for row in read(name, dtype):
                measured.append({"net": name, "dtype": dtype, **row})
                console.print(f"{name}, {dtype}: {row}", soft_wrap=True)
            on_progress(number)
    table = (times_table if options.target == "here" else programs_table)(measured)
    table.show([], console)
    results.write_summary(out, {"measured": measured}, markdown([table]), environment=environment)
    results.name_files(out, ("summary.md", "summary.json"), console)


def reader(options: Options) -> Callable[[str, str], list[dict[str, Any]]]:
    """`(net, dtype) -> [what is measured of each batch]`."""
    here = options.target == "here"
    there = None if here else place(TARGETS[options.target])
    form = CELLS if here and on_cpu() else CHANNELS_LAST

    def read(name: str, dtype: str) -> list[dict[str, Any]]:
        pixels = PIXELS if here else PIXELS_OF_TARGETS
        net = make_net(name, dtype, options.sources, pixels, form)
        function, weights, report = fold(net.call, net.variables, images_of(net, 2, dtype))
        calls: dict[str, tuple[Callable[..., Any], Any]] = {
            "as it is": (net.call, net.variables),
            "folded": (function, weights),
        }
        rows = []
        for batch in options.batches:
            images = images_of(net, batch, dtype)
            if here:
                everyone = compiled_here(calls, images) | torch_calls(name, batch, dtype, pixels)
                seconds = turns.medians(everyone, rounds=options.rounds, least=options.least)
                found: Any = {"milliseconds": {who: 1e3 * t for who, t in seconds.items()}}
            else:
                target = TARGETS[options.target]
                programs = {who: compiled(call, (given, images), target, there) for who, (call, given) in calls.items()}
                found = {"programs": programs}
            norms = f"{len(report.folded)} of {len(report.norms)}"
            rows.append({"batch": batch, "norms": norms, "error": report.error, **found})
        return rows

    return read


def images_of(net: Net, batch: int, dtype: str) -> jax.Array:
    """A batch of noise."""
    return jnp.asarray(np.random.default_rng(0).standard_normal((batch, *net.images), np.float32), dtype)


def compiled_here(calls: dict[str, tuple[Callable[..., Any], Any]], images: jax.Array) -> dict[str, Callable[[], Any]]:
    """Compiled calls, the variables being arguments."""

    def ready(call: Callable[..., Any], given: Any) -> Callable[[], Any]:
        made = jax.jit(call).lower(given, images).compile()
        return lambda: made(given, images)

    return {name: ready(*call) for name, call in calls.items()}


def times_table(measured: list[dict[str, Any]]) -> Table:
    """Milliseconds, and what folding and PyTorch's fusion gain."""
    rows = []
    for m in measured:
        t = m["milliseconds"]
        torch = [t["PyTorch"], t["PyTorch, fused"], t["PyTorch"] / t["PyTorch, fused"]] if "PyTorch" in t else []
        rows.append(
            [
                f"{m['net']}, batch {m['batch']}, {m['dtype']}",
                m["norms"],
                f"{m['error']:.1e}",
                f"{t['as it is']:.2f}",
                f"{t['folded']:.2f}",
                f"{t['as it is'] / t['folded']:.2f}",
                *([f"{value:.2f}" for value in torch] or ["", "", ""]),
            ]
        )
    header = ["net", "norms folded", "error", "ms", "ms folded", "gain", "PyTorch, ms", "ms fused", "gain there"]
    return Table("Inference with batch norm and with it folded", header, rows)


def programs_table(measured: list[dict[str, Any]]) -> Table:
    """What the compiled programs move, need and are estimated to take, which a GPU's compiler does not say."""
    estimated = bool(measured[0]["programs"]["folded"]["cycles"])
    columns: dict[str, Callable[[Any], str]] = {
        "MB moved": lambda program: f"{program['bytes'] / 1e6:.1f}",
        **({"million cycles": lambda program: f"{program['cycles'] / 1e6:.3f}"} if estimated else {}),
        "temporary MB": lambda program: f"{program['temporary'] / 1e6:.1f}",
        "kernels": lambda program: f"{program['kernels']}",
    }
    counted = "cycles" if estimated else "bytes"
    rows = []
    for m in measured:
        before, after = m["programs"]["as it is"], m["programs"]["folded"]
        figures = [read(each) for read in columns.values() for each in (before, after)]
        gain = f"{before[counted] / after[counted]:.2f}"
        rows.append([f"{m['net']}, batch {m['batch']}, {m['dtype']}", m["norms"], *figures, gain])
    titles = [title for name in columns for title in (name, "folded")]
    title = f"Inference compiled for {'a TPU' if estimated else 'a GPU'}"
    return Table(title, ["net", "norms folded", *titles, f"gain in {counted}"], rows)


if __name__ == "__main__":
    program.leave(main())
