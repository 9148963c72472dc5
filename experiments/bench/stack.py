"""Layers of batch norm as they stand in a net.

Made for accelerators: a CPU takes minutes for each shape. For example:
    python -m experiments.bench.stack --shapes 0 1 --rounds 5

A training step, forward and backward, of `relu(norm(x))` four times over, on the device that JAX finds; ours beside
Flax, Haiku, Equinox and Keras, and PyTorch (channels last), eagerly and with `torch.compile`. Unlike in
`experiments.bench.ops` the gradient of a layer's output depends on that output; what a layer passes on is written, as
for a convolution, and read by the next one. Scale, bias and running statistics are arguments. The floor is the time to
move 8 times the data of every layer at the rate of a plain copy in the same run. All take turns, medians over rounds,
compilation apart.

The data is 13 MB to 411 MB in bfloat16. Peers that are not installed, and a `torch.compile` that finds no compiler, are
left out (`pip install -e '.[peers]'`). Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.bench import torch_device, turns
from experiments.bench.opened import opened
from experiments.bench.peers import norms
from experiments.harness import config, program, results
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

Dtype = Literal["float32", "bfloat16"]
SHAPES = ((32, 56, 56, 64), (128, 14, 14, 1024), (8192, 4096), (128, 112, 112, 64), (256, 56, 56, 256))
LAYERS = 4
# How often a layer moves its data, at the least: forward 3 times, backward 5.
PASSES = 8
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which of the five shapes, counted from 0."""
    dtypes: tuple[Dtype, ...] = ("bfloat16",)
    """Of the data."""
    rounds: int = 9
    """How often everyone has a turn; the median counts."""
    least: float = 0.05
    """Seconds that a turn takes at least."""
    out: Path = Path("results/stack")
    """The folder for the results."""


def jax_call(norm: Any, x: jax.Array) -> Call:
    """A step of a stack of one layer of JAX, compiled."""
    layer, arrays = opened(norm, x, train=True)

    def step(stack: list[list[jax.Array]], x: jax.Array) -> Any:
        learnt = [{i: a for i, a in enumerate(arrays) if jnp.issubdtype(a.dtype, jnp.inexact)} for arrays in stack]

        def loss(learnt: list[dict[int, jax.Array]], x: jax.Array) -> tuple[jax.Array, list[Any]]:
            remembered = []
            for given, arrays in zip(learnt, stack, strict=True):
                y, *statistics = layer([given.get(i, a) for i, a in enumerate(arrays)], x)
                # As before a convolution: no compiler computes a layer's output again instead of writing it.
                x = jax.lax.optimization_barrier(jax.nn.relu(y).astype(x.dtype))
                remembered.append(statistics)
            return jnp.mean(jnp.square(x.astype(jnp.float32))), remembered

        return jax.grad(loss, (0, 1), has_aux=True)(learnt, x)

    # Each layer has its own: what two share, a compiler would compute once.
    stack = [[a + 0 for a in arrays] for _ in range(LAYERS)]
    return functools.partial(jax.jit(step).lower(stack, x).compile(), stack, x)


def torch_calls(x: np.ndarray, dtype: str) -> dict[str, Call]:
    """The same in PyTorch, or nothing where it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    there, features = torch_device.device(), x.shape[-1]
    layer = torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d
    data = torch.from_numpy(np.moveaxis(x, -1, 1)).to(there, getattr(torch, dtype))
    parts = [part for _ in range(LAYERS) for part in (layer(features, device=there), torch.nn.ReLU())]
    net = torch.nn.Sequential(*parts)

    def step(net: Any) -> Call:
        def call() -> Any:
            net.zero_grad()
            given = data.detach().requires_grad_()
            net(given).float().square().mean().backward()
            return torch_device.Queued(given.grad)

        return call

    calls, compiled = {"PyTorch": step(net)}, step(torch.compile(net))
    # It compiles when it is called, and needs a compiler for C++ or Triton then.
    with contextlib.suppress(RuntimeError):
        compiled()
        calls["torch.compile"] = compiled
    return calls


def measure(shape: tuple[int, ...], dtype: str, options: Options) -> dict[str, Any]:
    """Microseconds per layer of everyone, and of the floor."""
    values = np.random.default_rng(0).standard_normal(shape, np.float32) + 1
    x = jnp.asarray(values, dtype)
    calls = {name: jax_call(norm, x) for name, norm in norms(shape).items()} | torch_calls(values, dtype)
    copy = jax.jit(lambda x, one: x + one).lower(x, jnp.ones((), dtype)).compile()
    calls["floor"] = functools.partial(copy, x, jnp.ones((), dtype))
    times = turns.medians(calls, rounds=options.rounds, least=options.least)
    # A copy moves the data of one layer twice.
    micro = {name: s * 1e6 * (PASSES / 2 if name == "floor" else 1 / LAYERS) for name, s in times.items()}
    return {"shape": list(shape), "dtype": dtype, "bytes": x.nbytes, "microseconds": micro}


def table(measured: list[dict[str, Any]], dtype: str) -> Table:
    """Microseconds of ours, the bytes that they move per second, and everyone's time as a multiple of ours."""
    rows = [m for m in measured if m["dtype"] == dtype]
    names = [name for name in rows[0]["microseconds"] if name != "jaxbn"]
    ratios = [[m["microseconds"][name] / m["microseconds"]["jaxbn"] for name in names] for m in rows]
    body = []
    for m, found in zip(rows, ratios, strict=True):
        own = m["microseconds"]["jaxbn"]
        label = "x".join(map(str, m["shape"]))
        body.append([label, f"{own:.0f}", f"{PASSES * m['bytes'] / own / 1e6:.2f}", *(f"{r:.2f}" for r in found)])
    body.append(["geometric mean", "", "", *(f"{r:.2f}" for r in np.exp(np.mean(np.log(ratios), 0)))])
    title = f"A training step of {LAYERS} layers, {dtype}: times of others / ours"
    return Table(title, ["data", "jaxbn, µs a layer", "TB/s", *names], body)


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
    chosen = [*itertools.product(options.dtypes, options.shapes)]
    with progress(console, "stack", len(chosen), still=True) as on_progress:
        for dtype, number in chosen:
            measured.append(measure(SHAPES[number], dtype, options))
            micro = {name: round(t, 1) for name, t in measured[-1]["microseconds"].items()}
            console.print(f"{SHAPES[number]} {dtype} {micro}", soft_wrap=True)
            on_progress(len(measured))
    text = markdown(table(measured, dtype) for dtype in options.dtypes)
    results.write_summary(options.out, {"measured": measured}, text)
    console.print("\n" + text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
