"""How fast every framework's batch norm is: `python -m experiments.bench.ops`.

Training forward, the same with the backward pass, and evaluation; ours beside Flax, Haiku, Equinox, Keras and PyTorch,
beside the floor: the time to move the bytes that must be moved (forward 3 times the data, with the backward pass 8,
evaluation 2) at the rate of a plain copy in the same run. All take turns, medians over rounds, compilation apart. "One
by one" every call returns fresh arrays, whose pages the system has to clear; "in a loop" the results of one call are
the input of the next inside one compiled program (PyTorch: inside one Python loop). Peers that are not installed are
left out (`pip install -e '.[peers]'`). Writes `summary.json`, `summary.md` and `ops.png`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.extend.core import jaxpr_as_fun

from experiments.bench.peers import norms
from experiments.bench.peers_torch import torch_calls
from experiments.harness import plotting, results

SHAPES = (
    (64, 100),
    (64, 28, 28, 6),
    (64, 14, 14, 16),
    (32, 14, 14, 256),
    (64, 32, 32, 32),
    (32, 56, 56, 64),
    (128, 64, 112, 112),
    (8, 512, 512, 3),
)
CHANNEL_FIRST = {(128, 64, 112, 112)}
# How often the data is moved, at the least.
PASSES = {"forward": 3, "forward+backward": 8, "evaluation": 2}
# Of the step that scale and bias make in a loop, lest their gradients be left out.
RATE = 1e-6
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which of the eight shapes, counted from 0."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    """Of the data."""
    rounds: int = 9
    """How often everyone has a turn; the median counts."""
    least: float = 0.02
    """Seconds that a turn takes at least."""
    out: Path = Path("results/ops")
    """The folder for the results."""


def opened(norm: Any, x: jax.Array, *, train: bool) -> tuple[Any, list[jax.Array]]:
    """The layer as `(arrays, x) -> [y, *what it remembers]`, and its arrays: scale, bias, running statistics.

    As constants of the program a scale of 1 and a bias of 0 would be left out, which no training does.
    """
    closed = jax.make_jaxpr(lambda x: norm(x, train=train))(x)
    return lambda arrays, x: jaxpr_as_fun(closed.replace(consts=arrays))(x), closed.consts


def learning(layer: Any, arrays: list[jax.Array], x: jax.Array, dy: jax.Array) -> Any:
    """Forward and backward: the arrays after a step, what is remembered, the output, the gradient of the data."""
    is_learnt = [jnp.issubdtype(a.dtype, jnp.inexact) for a in arrays]

    def of_learnt(learnt: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        given = iter(learnt)
        y, *remembered = layer([next(given) if l else a for a, l in zip(arrays, is_learnt, strict=True)], x)
        return y, remembered

    learnt = [a for a, l in zip(arrays, is_learnt, strict=True) if l]
    y, pull, remembered = jax.vjp(of_learnt, learnt, x, has_aux=True)
    slopes, dx = pull(dy.astype(y.dtype))
    moved = iter([a + RATE * slope for a, slope in zip(learnt, slopes, strict=True)])
    return [next(moved) if l else a for a, l in zip(arrays, is_learnt, strict=True)], remembered, y, dx


def jax_calls(norm: Any, mode: str, x: jax.Array, dy: jax.Array, repeats: int) -> tuple[Call, Call, int]:
    """One call, a compiled loop of `repeats`, and the bytes of temporary memory that the one call needs."""
    layer, arrays = opened(norm, x, train=mode != "evaluation")

    def call(arrays: list[jax.Array], _: Any, *given: jax.Array) -> Any:
        """The results are the next arguments."""
        if mode == "forward+backward":
            arrays, remembered, *found = learning(layer, arrays, *given)
        else:
            y, *remembered = layer(arrays, *given)
            found = [y]
        return arrays, remembered, *(value.astype(x.dtype) for value in found)

    data = (x, dy) if mode == "forward+backward" else (x,)
    shapes = jax.eval_shape(call, arrays, None, *data)[1]
    arguments = (arrays, [jnp.zeros(s.shape, s.dtype) for s in shapes], *data)
    once = jax.jit(call).lower(*arguments).compile()
    many = jax.jit(lambda *carry: jax.lax.fori_loop(0, repeats, lambda _, carry: call(*carry), carry))
    loop = many.lower(*arguments).compile()
    memory: Any = once.memory_analysis()
    return functools.partial(once, *arguments), functools.partial(loop, *arguments), memory.temp_size_in_bytes


def copy_calls(x: jax.Array, repeats: int) -> tuple[Call, Call]:
    """A copy, one by one and in a loop; the number that is added keeps the compiler from leaving it out."""
    one = jnp.ones((), x.dtype)
    once = jax.jit(lambda x, one: x + one).lower(x, one).compile()
    loop = jax.jit(lambda x, one: jax.lax.fori_loop(0, repeats, lambda _, x: x + one, x)).lower(x, one).compile()
    return functools.partial(once, x, one), functools.partial(loop, x, one)


def seconds(call: Call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def medians(calls: dict[str, tuple[Call, int]], options: Options) -> dict[str, float]:
    """Seconds per call of everyone, in turns; each is repeated until the turn is long enough."""
    turns = {}
    for name, (call, inner) in calls.items():
        seconds(call)
        turns[name] = (call, max(1, math.ceil(options.least / max(seconds(call), 1e-7))), inner)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, (call, number, inner) in turns.items():
            start = time.perf_counter()
            for _ in range(number):
                last = call()
            jax.block_until_ready(last)
            times[name].append((time.perf_counter() - start) / number / inner)
    return {name: statistics.median(values) for name, values in times.items()}


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


def tables(measured: list[dict[str, Any]]) -> str:
    """Markdown: microseconds of ours, and everyone's time as a multiple of it."""
    text = []
    for mode in PASSES:
        for way in ("in a loop", "one by one"):
            rows = [m for m in measured if m["mode"] == mode]
            names = [name for name in rows[0]["microseconds"][way] if name != "jaxbn"]
            body, ratios = [], []
            for m in rows:
                times = m["microseconds"][way]
                ratios.append([times[name] / times["jaxbn"] for name in names])
                label = f"{'x'.join(map(str, m['shape']))} {m['dtype']}"
                body.append([label, f"{times['jaxbn']:.0f}", *(f"{r:.2f}" for r in ratios[-1])])
            means = np.exp(np.mean(np.log(ratios), 0))
            body.append(["geometric mean", "", *(f"{r:.2f}" for r in means)])
            head = ["data", "jaxbn, µs", *names]
            text.append(f"{mode}, {way}: times of others / ours\n\n" + results.markdown_table(head, body))
    return "\n\n".join(text) + "\n"


def draw(path: Path, measured: list[dict[str, Any]]) -> None:
    """Everyone's time as a multiple of the floor, in a loop, for every shape of the first dtype."""
    figure, axes = plotting.new_figure(len(PASSES))
    for ax, mode in zip(axes, PASSES, strict=True):
        rows = [m for m in measured if m["mode"] == mode and m["dtype"] == measured[0]["dtype"]]
        for number, name in enumerate(rows[0]["microseconds"]["in a loop"]):
            if name != "floor":
                times = [m["microseconds"]["in a loop"] for m in rows]
                colour = plotting.COLOURS[number % len(plotting.COLOURS)]
                line = "o--" if name == "PyTorch" else "o-"
                ax.plot([t[name] / t["floor"] for t in times], line, label=name, color=colour, alpha=0.8)
        ax.set_xticks(range(len(rows)), ["x".join(map(str, m["shape"])) for m in rows], rotation=40, ha="right")
        ax.set(yscale="log", title=f"{mode}, {rows[0]['dtype']}: time / floor")
    axes[0].legend(fontsize=8)
    plotting.save_figure(figure, path)


def main(options: Options) -> int:
    """Measure, and write the tables."""
    wrong = set(options.shapes) - set(range(len(SHAPES)))
    if wrong:
        print(f"`--shapes` must be numbers from 0 to {len(SHAPES) - 1}, got {sorted(wrong)}.", file=sys.stderr)
        return 2
    measured = []
    for number in options.shapes:
        for dtype in options.dtypes:
            for mode in PASSES:
                measured.append(measure(SHAPES[number], dtype, mode, options))
                way = measured[-1]["microseconds"]["in a loop"]
                print(SHAPES[number], dtype, mode, {name: round(t, 1) for name, t in way.items()}, flush=True)
    text = tables(measured)
    print("\n" + text)
    results.write_json(options.out / "summary.json", {"measured": measured, **results.describe_environment()})
    results.write_text(options.out / "summary.md", text)
    draw(options.out / "ops.png", measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
