"""What compilers for TPUs and GPUs make of everyone's batch norm.

Takes 2 minutes on 2 cores; docs/speed.md has the results. For example:
    python -m experiments.bench.compiled --target tpu-v5e

Nothing is run on a device, and none is needed: the programs are compiled ahead of time, by the TPU's or the GPU's own
compiler, for a TPU v5e or v6e or an H100 that is not here, and their text is read. Ours beside Flax, Haiku, Equinox and
Keras, where installed, in training: forward, and with the backward pass, where the cotangent depends on the output, as
in a net. Scale, bias and running statistics are arguments; their gradients and updates are results.

- Passes: the bytes that the program moves through the main memory, as a multiple of the data. Forward needs 3, with
  the backward pass 8. A TPU needs 3 for both where the data fits its own memory: then cycles alone tell.
- Temporary memory, as a multiple of the data; kernels; the seconds to trace, lower and compile on this machine.
- Cycles: the estimate of the TPU's compiler. Of the GPU there is none: its passes decide.

With `--nets` one training step of whole nets instead: Flax's ResNets, of Flax's sources (see
`experiments.bench.drop_in`), batch 64, 224x224, bfloat16, or the four of `experiments.mnist`, with one seed and with
ten in one program.

The 2 minutes are those of one target. Needs `pip install -e '.[aot-tpu]'` or `'.[aot-cuda]'`. Writes `summary.json`,
`summary.md` and `compiled.png`, or `nets.json` and `nets.md`, to a folder for every target, and beside these folders a
`summary.md` of all targets that are there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from experiments.bench.ahead_of_time.targets import TARGETS, compiled, place
from experiments.bench.compiled.layers import measure
from experiments.bench.compiled.nets import mnist_nets, resnets
from experiments.bench.compiled.overview import overview
from experiments.bench.compiled.report import draw, nets_table, tables
from experiments.bench.flax_examples import require_sources
from experiments.harness import config, files, program, results
from experiments.harness.environment import describe_environment
from experiments.harness.progress import progress
from experiments.harness.tables import markdown

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


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be compiled, before any work."""
    config.require_positions("--shapes", options.shapes, len(SHAPES))
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
        with progress(console, options.target, len(options.nets), still=True) as on_progress:
            for number, net in enumerate(options.nets, 1):
                rows = mnist_nets() if net == "mnist" else resnets(int(net.removeprefix("resnet")), options.sources)
                found[net] = {row: compiled(step, arguments, target, there) for row, step, arguments in rows}
                seconds = {row: n["seconds"] for row, n in found[net].items()}
                console.print(f"{net} {seconds}", soft_wrap=True)
                on_progress(number)
        text, name = markdown(nets_table(net, rows) for net, rows in found.items()), "nets"
    else:
        found, name = [], "summary"
        with progress(console, options.target, len(options.shapes), still=True) as on_progress:
            for number, (shape, dtype) in enumerate((SHAPES[i] for i in options.shapes), 1):
                found += measure(shape, dtype, target, there)
                seconds = {norm: n["seconds"] for norm, n in found[-1]["layers"].items()}
                console.print(f"{shape} {dtype} {seconds}", soft_wrap=True)
                on_progress(number)
        text = tables(found)
        draw(out / "compiled.png", found)
    environment = {**describe_environment(), "device": f"{options.target}, compiled for, not run"}
    results.write_summary(out, {"measured": found}, text, name=name, environment=environment)
    files.write_text(options.out / "summary.md", markdown(overview(options.out)))
    console.print("\n" + text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
