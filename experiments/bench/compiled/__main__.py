"""What compilers for TPUs and GPUs make of everyone's batch norm: `python -m experiments.bench.compiled --target h100`.

Nothing is run on a device, and none is needed: the programs are compiled ahead of time, by the TPU's or the GPU's own
compiler, for a TPU v5e or v6e or an H100 that is not here, and their text is read. Ours beside Flax, Haiku and Equinox,
where installed, in training: forward, and with the backward pass, where the cotangent depends on the output, as in a
net. Scale, bias and running statistics are arguments; their gradients and updates are results.

- Passes: the bytes that the program moves through the main memory, as a multiple of the data. Forward needs 3, with
  the backward pass 8. A TPU needs 3 for both where the data fits its own memory: then cycles alone tell.
- Temporary memory, as a multiple of the data; kernels; the seconds to trace, lower and compile on this machine.
- Cycles: the estimate of the TPU's compiler. Of the GPU there is none: its passes decide.

With `--nets` one training step of whole nets instead: Flax's ResNets, of Flax's sources (see
`experiments.bench.drop_in`), batch 64, 224x224, bfloat16, or the four of `experiments.mnist`, with one seed and with
ten in one program.

Needs `pip install -e '.[aot-tpu]'` or `'.[aot-cuda]'`. About 2 minutes on 2 cores for a target. Writes `summary.json`,
`summary.md` and `compiled.png`, or `nets.json` and `nets.md`, to a folder for every target.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from experiments.bench.ahead_of_time.targets import TARGETS, compiled, place
from experiments.bench.compiled.layers import measure
from experiments.bench.compiled.nets import mnist_nets, resnets
from experiments.bench.flax_examples import require_sources
from experiments.harness import config, plotting, program, results
from experiments.harness.environment import describe_environment
from experiments.harness.errors import UserError
from experiments.harness.tables import Table, markdown

SHAPES: tuple[tuple[tuple[int, ...], str], ...] = (
    ((64, 100), "float32"),
    ((64, 28, 28, 6), "float32"),
    ((64, 28, 28, 6), "bfloat16"),
    ((32, 14, 14, 256), "float32"),
    ((32, 56, 56, 64), "float32"),
    ((32, 56, 56, 64), "bfloat16"),
    ((128, 112, 112, 64), "bfloat16"),
    ((256, 56, 56, 256), "bfloat16"),
    ((128, 14, 14, 1024), "bfloat16"),
    ((8192, 4096), "bfloat16"),
)
# Ratios of smaller data count for less: what they cost is the start of a kernel.
LARGE = 2**20


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compile."""

    target: Literal["tpu-v5e", "tpu-v6e", "h100"]
    """For which accelerator."""
    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which of the ten shapes, counted from 0."""
    nets: tuple[Literal["resnet18", "resnet50", "mnist"], ...] = ()
    """These nets instead of the layers; the TPU's compiler takes minutes for a ResNet with each norm."""
    sources: Path = Path("flax-0.12.8")
    """Flax's sources, for the ResNets."""
    out: Path = Path("results/compiled")
    """The folder for the results."""


def decisive(layers: dict[str, Any]) -> str:
    """Cycles where the compiler estimates them, as the TPU's does, or the bytes."""
    return "cycles" if all(numbers["cycles"] for numbers in layers.values()) else "bytes"


def label(m: dict[str, Any]) -> str:
    """The shape and the dtype."""
    return "x".join(map(str, m["shape"])) + {"float32": " f32", "bfloat16": " bf16"}[m["dtype"]]


def tables(measured: list[dict[str, Any]]) -> str:
    """Markdown, for either mode: our part of what everyone needs, and what everyone needs."""
    quantities: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
        "passes over the data": lambda n, m: f"{n['bytes'] / m['size']:.2f}",
        "temporary memory, as a multiple of the data": lambda n, m: f"{n['temporary'] / m['size']:.2f}",
        "kernels": lambda n, _: f"{n['kernels']}",
        "seconds to trace, lower and compile": lambda n, _: f"{sum(n['seconds']):.2f}",
    }
    found = []
    for mode in dict.fromkeys(m["mode"] for m in measured):
        rows = [m for m in measured if m["mode"] == mode]
        found.append(ratio_table(f"{mode}: {decisive(rows[0]['layers'])} of ours / others", rows))
        names = list(rows[0]["layers"])
        for title, cell in quantities.items():
            body = [[label(m), *(cell(m["layers"][name], m) for name in names)] for m in rows]
            found.append(Table(f"{mode}: {title}", ["data", *names], body))
    return markdown(found)


def ratio_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Ours, and ours as a part of everyone's, with the geometric mean and the worst of the larger data."""
    quantity = decisive(rows[0]["layers"])
    names = [name for name in rows[0]["layers"] if name != "jaxbn"]
    ratios = [[m["layers"]["jaxbn"][quantity] / m["layers"][name][quantity] for name in names] for m in rows]
    large = [r for r, m in zip(ratios, rows, strict=True) if m["size"] >= LARGE]
    means = [math.exp(sum(map(math.log, column)) / len(rows)) for column in zip(*ratios, strict=True)]
    body = [
        [label(m), f"{m['layers']['jaxbn'][quantity]:.0f}", *map(two, r)] for m, r in zip(rows, ratios, strict=True)
    ]
    body.append(["geometric mean", "", *map(two, means)])
    if large:
        body.append(["worst of 1 MB or more", "", *map(two, map(max, zip(*large, strict=True)))])
    return Table(title, ["data", f"jaxbn, {quantity}", *names], body)


def two(ratio: float) -> str:
    return f"{ratio:.2f}"


def nets_table(net: str, found: dict[str, Any]) -> Table:
    """A row for every norm or form of the net."""
    heads = ["norm or form", "GB moved", "million cycles", "kernels", "temporary GB", "lines of HLO"]
    body = [
        [
            name,
            f"{n['bytes'] / 1e9:.3f}",
            f"{n['cycles'] / 1e6:.3f}" if n["cycles"] else "",
            f"{n['kernels']}",
            f"{n['temporary'] / 1e9:.3f}",
            f"{n['lines']}",
            *map(two, n["seconds"]),
        ]
        for name, n in found.items()
    ]
    return Table(f"A training step of {net}", [*heads, "s to trace", "s to lower", "s to compile"], body)


def draw(path: Path, measured: list[dict[str, Any]]) -> None:
    """What everyone needs as a multiple of what we need: a row of dots for every shape."""
    modes = list(dict.fromkeys(m["mode"] for m in measured))
    figure, axes = plotting.new_figure(len(modes))
    for ax, mode in zip(axes, modes, strict=True):
        rows = [m for m in measured if m["mode"] == mode]
        quantity = decisive(rows[0]["layers"])
        needed = [{name: n[quantity] for name, n in m["layers"].items()} for m in rows]
        names = [name for name in needed[0] if name != "jaxbn"]
        plotting.dots(ax, {name: [n[name] / n["jaxbn"] for n in needed] for name in names}, list(map(label, rows)))
        ax.set(xlabel=f"{quantity} / {quantity} of jaxbn", title=mode)
    axes[0].set_ylabel("data")
    axes[-1].legend(fontsize=8)
    plotting.save_figure(figure, path)


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be compiled, before any work."""
    if not set(options.shapes) <= set(range(len(SHAPES))) or not options.shapes:
        raise UserError(f"`--shapes` must be numbers from 0 to {len(SHAPES) - 1}, got {[*options.shapes]}.")
    if any(net.startswith("resnet") for net in options.nets):
        require_sources(options.sources)
    config.require_writable("--out", options.out)


def work(options: Options, console: Console) -> None:
    """Compile, and write the tables."""
    check(options)
    target, out = TARGETS[options.target], options.out / options.target
    there = place(target)
    console.print(
        f"Nothing is run on a device: these are programs compiled for {options.target}, and what they say.",
        soft_wrap=True,
    )
    if options.nets:
        found: Any = {}
        for net in options.nets:
            rows = mnist_nets() if net == "mnist" else resnets(int(net.removeprefix("resnet")), options.sources)
            found[net] = {row: compiled(step, arguments, target, there) for row, step, arguments in rows}
            seconds = {row: n["seconds"] for row, n in found[net].items()}
            console.print(f"{net} {seconds}", soft_wrap=True)
        text, name = markdown(nets_table(net, rows) for net, rows in found.items()), "nets"
    else:
        found, name = [], "summary"
        for shape, dtype in (SHAPES[number] for number in options.shapes):
            found += measure(shape, dtype, target, there)
            seconds = {name: n["seconds"] for name, n in found[-1]["layers"].items()}
            console.print(f"{shape} {dtype} {seconds}", soft_wrap=True)
        text = tables(found)
        draw(out / "compiled.png", found)
    console.print("\n" + text, soft_wrap=True)
    environment = {**describe_environment(), "device": f"{options.target}, compiled for, not run"}
    results.write_summary(out, {"measured": found}, text, name=name, environment=environment)


if __name__ == "__main__":
    program.leave(main())
