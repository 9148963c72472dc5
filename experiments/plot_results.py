"""Draw the curves of a finished experiment anew: `python -m experiments.plot_results --out results/mnist`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from experiments.harness import program, results
from experiments.harness.errors import UserError
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
    found = {name: results.read_records(cfg.out / name / "metrics.jsonl") for name in MODELS}
    records = {name: own for name, own in found.items() if own}
    if not records:
        raise UserError(f"`--out` must hold the results of an experiment, got {cfg.out} with none; run it first.")
    plot(cfg.out, records)
    console.print(f"Drawn: {cfg.out / 'curves.png'}", soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
