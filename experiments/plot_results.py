"""Draw the curves of a finished experiment anew.

Takes seconds. For example:
    python -m experiments.plot_results --out results/mnist
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from experiments.harness import program
from experiments.harness.errors import UserError
from experiments.harness.run_files import read_measured
from experiments.mnist.plot import MODELS, plot


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    out: Path = Path("results/mnist")
    """The folder with the results; curves.png there is replaced."""


def main(args: list[str] | None = None) -> int:
    """Draw, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Draw the curves of all models that have results."""
    found = {name: read_measured(cfg.out / name) for name in MODELS}
    records = {name: own.records for name, own in found.items() if own and own.records}
    if not records:
        raise UserError(f"`--out` must hold the results of an experiment, got {cfg.out} with none; run it first.")
    plot(cfg.out, records)
    console.print(f"Drawn: {cfg.out / 'curves.png'}", soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
