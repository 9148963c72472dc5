"""Draw the curves of a finished experiment anew: `python -m experiments.plot_results --out results/mnist`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from experiments.harness import config, results
from experiments.harness.errors import UserError
from experiments.mnist.plot import MODELS, plot


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    out: Path = Path("results/mnist")
    """The folder with the results; curves.png there is replaced."""


def main(args: list[str] | None = None) -> int:
    """Draw; the exit status is 0, or 2 for what the user can mend."""
    try:
        cfg = config.parse(Config, args, prog="python -m experiments.plot_results", description=__doc__ or "")
        models = [name for name in MODELS if results.read_records(cfg.out / name / "metrics.jsonl")]
        if not models:
            raise UserError(f"`--out` must hold the results of an experiment, got {cfg.out} with none; run it first.")
        plot(cfg.out, models)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Drawn: {cfg.out / 'curves.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
