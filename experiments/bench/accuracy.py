"""How exact every framework's batch norm is.

Takes 20 seconds on 2 cores; docs/accuracy.md has the results. For example:
    python -m experiments.bench.accuracy

Training mode, scale 1, bias 0, epsilon 1e-5, on the same float32 (or half) numbers for all, against NumPy in float64 on
those numbers. Peers that are not installed are left out; `pip install -e '.[peers]'` brings them. Writes `summary.json`
and `summary.md`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np
from rich.console import Console

from experiments.bench.peers import layers
from experiments.harness import config, program, results
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

SHAPE = (256, 8, 8, 16)
EPSILON = 1e-5
OUTPUT = "Largest absolute error of the output"
GRADIENT = "Largest error of the gradient with respect to the input, relative to its largest entry"


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path = Path("results/accuracy")
    """The folder for the results."""


def inputs() -> dict[str, np.ndarray]:
    """The data, by what is special about it."""
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    data = {f"mean {mean:g}, std 1": (noise + mean).astype(np.float32) for mean in (0, 1e2, 1e3, 1e4, 1e5, 1e6)}
    for name, first in (("an outlier of 1e3 std", 1e4 + 1e3), ("a zero", 0.0)):
        special = data["mean 10000, std 1"].copy()
        special[0, 0, 0] = first
        data[f"mean 10000, first element {name}"] = special
    data["constant 1e5"] = np.full(SHAPE, 1e5, np.float32)
    data["bfloat16, mean 300, std 1"] = (noise + 300).astype(ml_dtypes.bfloat16)
    data["float16, mean 300, std 1"] = (noise + 300).astype(np.float16)
    return data


def exact(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Output and gradient in float64."""
    x, cotangent = x.astype(np.float64), cotangent.astype(np.float64)
    axes = (0, 1, 2)
    inverse = 1 / np.sqrt(x.var(axes) + EPSILON)
    y = (x - x.mean(axes)) * inverse
    return y, inverse * (cotangent - cotangent.mean(axes) - y * (cotangent * y).mean(axes))


def measure(console: Console) -> list[Table]:
    """The errors of everyone, of the output and of the gradient."""
    found, data = layers(SHAPE, EPSILON), inputs()
    forward, backward = [], []
    with progress(console, "accuracy", len(data)) as on_progress:
        for name, x in data.items():
            cotangent = np.random.default_rng(1).standard_normal(SHAPE).astype(x.dtype)
            y, gradient = exact(x, cotangent)
            errors, slopes = [], []
            for layer in found.values():
                output, slope = layer(x, cotangent)
                errors.append(f"{np.abs(output.astype(np.float64) - y).max():.1e}")
                slopes.append(f"{np.abs(slope.astype(np.float64) - gradient).max() / np.abs(gradient).max():.1e}")
            forward.append([name, *errors])
            backward.append([name, *slopes])
            on_progress(len(forward))
    return [Table(OUTPUT, ["input", *found], forward), Table(GRADIENT, ["input", *found], backward)]


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def work(options: Options, console: Console) -> None:
    """Measure, print and write the two tables."""
    config.require_writable("--out", options.out)
    tables = measure(console)
    text = markdown(tables)
    results.write_summary(options.out, {"measured": {table.title: table.cells() for table in tables}}, text)
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
