"""How many steps per second a whole training loop makes.

Takes 2 minutes on 2 cores; docs/speed.md has the results. For example:
    python -m experiments.bench.training --models mlp-bn --frameworks jaxbn Flax

The four models of `experiments.mnist` with batches of 64: our loop beside a plain one in Flax (a jitted step per batch,
fed from NumPy), PyTorch eagerly and with `torch.compile`, and `fit` of Keras on JAX; each as its users write it, the
data in memory. All take turns, medians over rounds; the first step, which compiles, apart. "ten seeds" is ours with ten
seeds at once, as a multiple of one. Peers that are not installed are left out (`pip install -e '.[peers]'`). With
`--resnets 18 50` a step of Flax's ResNets too, of Flax's sources (see `experiments.bench.drop_in`), with our batch norm
and with Flax's, and the seconds to trace, lower and compile it; `--models` with nothing after it leaves the four out.
Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.bench.flax_examples import require_sources
from experiments.bench.resnets import LINEN, NNX
from experiments.bench.training import loops, resnet_steps, torch_loop
from experiments.bench.training.loops import Trainer
from experiments.harness import config, program, results
from experiments.harness.errors import UserError
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

TEN = "jaxbn, ten seeds"
MAKERS: dict[str, Callable[[str, np.ndarray, np.ndarray], Trainer]] = {
    "jaxbn": loops.ours,
    "Flax": loops.flax,
    "PyTorch": functools.partial(torch_loop.torch_trainer, compiled=False),
    "torch.compile": functools.partial(torch_loop.torch_trainer, compiled=True),
    "Keras": loops.keras,
    TEN: functools.partial(loops.ours, seeds=10),
}
EXAMPLES = 60_000
FIRST = "Seconds to build the model and make the first step; in the first row with what is imported then"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[Literal["mlp-bn", "mlp", "conv-bn", "conv"], ...] = ("mlp-bn", "mlp", "conv-bn", "conv")
    """Which models."""
    frameworks: tuple[str, ...] = tuple(MAKERS)
    """Whose loops."""
    steps: int = 100
    """Steps of a turn."""
    rounds: int = 7
    """How often everyone has a turn; the median counts."""
    resnets: tuple[Literal[18, 50], ...] = ()
    """Flax's ResNets of these depths as well; a turn is one step."""
    norms: tuple[str, ...] = tuple(LINEN | NNX)
    """With whose batch norm."""
    batch: int = 8
    """Images in a batch of a ResNet."""
    pixels: int = 64
    """Height and width of its images."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of its images, and of what it computes."""
    compilations: int = 3
    """How often each ResNet is compiled; the median counts."""
    sources: Path = Path("flax-0.12.8")
    """Flax's sources, for the ResNets."""
    out: Path = Path("results/training")
    """The folder for the results."""


def measure(model: str, options: Options) -> dict[str, Any]:
    """Milliseconds per step of everyone, and seconds until the first step is done."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, 28, 28), np.uint8)
    labels = rng.integers(0, 10, EXAMPLES, np.int32)
    trainers: dict[str, Trainer] = {}
    first: dict[str, float] = {}
    for name in options.frameworks:
        start = time.perf_counter()
        try:
            train = MAKERS[name](model, images, labels)
        except ImportError:
            continue
        train(1)
        first[name] = time.perf_counter() - start
        trainers[name] = train
    times: dict[str, list[float]] = {name: [] for name in trainers}
    # The first round is not counted: Keras compiles anew for an epoch of another length.
    for number in range(options.rounds + 1):
        for name, train in trainers.items():
            start = time.perf_counter()
            train(options.steps)
            if number:
                times[name].append((time.perf_counter() - start) / options.steps)
    milliseconds = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    # Ours first: the tables compare with it.
    milliseconds = {name: milliseconds[name] for name in sorted(milliseconds, key=lambda name: name != "jaxbn")}
    return {"model": model, "milliseconds": milliseconds, "first": first}


def tables(measured: list[dict[str, Any]]) -> list[Table]:
    """Steps per second, everyone's time as a multiple of ours, and seconds until the first step."""
    names = list(measured[0]["milliseconds"])
    speeds, ratios, firsts = [], [], []
    for m in measured:
        times = m["milliseconds"]
        speeds.append([m["model"], *(f"{1e3 / times[name]:,.0f}" for name in names if name != TEN)])
        ratios.append([m["model"], *(f"{times[name] / times[names[0]]:.2f}" for name in names[1:])])
        firsts.append([m["model"], *(f"{m['first'][name]:.1f}" for name in names)])
    return [
        Table("Steps per second", ["model", *(n for n in names if n != TEN)], speeds),
        Table(f"Time per step, as a multiple of {names[0]}", ["model", *names[1:]], ratios),
        Table(FIRST, ["model", *names], firsts),
    ]


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def check(options: Options) -> None:
    """Refuse what can't be measured, before any work."""
    wrong = set(options.frameworks) - set(MAKERS)
    if wrong:
        raise UserError(f"`--frameworks` must be among {', '.join(MAKERS)}, got {', '.join(sorted(wrong))}.")
    if "jaxbn" not in options.frameworks:
        raise UserError("`--frameworks` must name ours, jaxbn, to compare with.")
    if not (options.models or options.resnets):
        raise UserError("`--models` or `--resnets` must name a model.")
    config.require_at_least("--steps", options.steps, 1)
    config.require_at_least("--rounds", options.rounds, 1)
    config.require_at_least("--batch", options.batch, 1)
    config.require_at_least("--pixels", options.pixels, 1)
    config.require_at_least("--compilations", options.compilations, 1)
    unknown = set(options.norms) - set(LINEN | NNX)
    if unknown:
        raise UserError(f"`--norms` must be among {'; '.join(LINEN | NNX)}, got {'; '.join(sorted(unknown))}.")
    if "jaxbn" not in options.norms:
        raise UserError("`--norms` must name ours, jaxbn, to compare with.")
    if options.resnets:
        require_sources(options.sources)
    config.require_writable("--out", options.out)


def work(options: Options, console: Console) -> None:
    """Measure, and write the tables."""
    check(options)
    # What is compiled is measured, whatever an earlier run has left.
    jax.config.update("jax_enable_compilation_cache", val=False)
    measured, nets = [], []
    with progress(console, "training", len(options.models) + len(options.resnets), still=True) as on_progress:
        for model in options.models:
            measured.append(measure(model, options))
            times = {name: f"{t:.3f} ms" for name, t in measured[-1]["milliseconds"].items()}
            console.print(f"{model} {times}", soft_wrap=True)
            on_progress(len(measured))
        for depth in options.resnets:
            images = jax.ShapeDtypeStruct((options.batch, options.pixels, options.pixels, 3), jnp.dtype(options.dtype))
            rounds, compilations = options.rounds, options.compilations
            nets.append(
                resnet_steps.measure(
                    options.sources, depth, options.norms, images, rounds=rounds, compilations=compilations
                )
            )
            seconds = {name: n["seconds"] for name, n in nets[-1]["norms"].items()}
            console.print(f"ResNet-{depth} {seconds}", soft_wrap=True)
            on_progress(len(measured) + len(nets))
    text = markdown([*(tables(measured) if measured else []), *map(resnet_steps.table, nets)])
    results.write_summary(options.out, {"measured": measured, "resnets": nets}, text)
    console.print("\n" + text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
