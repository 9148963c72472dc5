"""Population statistics by several rules.

Takes seconds; docs/inference.md has the results. For example:
    python -m experiments.bench.recalibration

One feature, in batches of several kinds: the exact moments of all values, in float64; `jaxbn.inference.recalibrate`;
PyTorch's `update_bn`, where it is installed (`pip install -e '.[peers]'`); and the rule that this and AIMET's
`reestimate_bn_stats` follow, the plain average over batches of their means and unbiased variances. That rule counts a
short batch like a long one, and leaves out what lies between the batches. Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.harness import config, program, results
from experiments.harness.tables import Table, markdown
from jaxbn import BatchNormParams, batch_norm, init_state
from jaxbn.inference import recalibrate

Batches = list[np.ndarray]
# `batches -> (mean, variance)`.
Rule = Callable[[Batches], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path = Path("results/recalibration")
    """The folder for the results."""


def kinds() -> dict[str, Batches]:
    """Batches by what is special about them."""
    rng = np.random.default_rng(0)

    def batch(size: int, mean: float, std: float) -> np.ndarray:
        return rng.normal(mean, std, (size, 1)).astype(np.float32)

    return {
        "8 of 64, alike": [batch(64, 1, 2) for _ in range(8)],
        "7 of 64, and 4 others": [*(batch(64, 0, 1) for _ in range(7)), batch(4, 6, 1)],
        "6 of 64, sorted by class": [batch(64, center, 5.3) for center in (-10, -5, 0, 0, 5, 10)],
        "200 of 2": [batch(2, 0, 2) for _ in range(200)],
        "200 of 1": [batch(1, 0, 2) for _ in range(200)],
    }


def exact(batches: Batches) -> tuple[float, float]:
    """The moments of all values."""
    x = np.concatenate(batches).astype(np.float64)
    return x.mean(), x.var()


def ours(batches: Batches) -> tuple[float, float]:
    none = BatchNormParams(None, None)
    state, _ = recalibrate(lambda state, x: batch_norm(none, state, x, train=False)[0], init_state(1), batches)
    return state.mean.item(), state.var.item()


def averaged(batches: Batches) -> tuple[float, float]:
    """The rule of `update_bn` and AIMET; a batch of one has no unbiased variance."""
    wide = [b.astype(np.float64) for b in batches]
    means, variances = zip(*((b.mean(), b.var(ddof=1) if len(b) > 1 else np.nan) for b in wide), strict=True)
    return float(np.mean(means)), float(np.mean(variances))


def update_bn(batches: Batches) -> tuple[float, float]:
    import torch

    layer = torch.nn.BatchNorm1d(1)
    try:
        torch.optim.swa_utils.update_bn([torch.from_numpy(b) for b in batches], layer)
    except ValueError:  # It refuses batches of one.
        return np.nan, np.nan
    return layer.running_mean.item(), layer.running_var.item()


def rules() -> dict[str, Rule]:
    found: dict[str, Rule] = {"exact": exact, "jaxbn": ours, "average over batches (AIMET)": averaged}
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401

        found["update_bn (PyTorch)"] = update_bn
    return found


def measure() -> list[Table]:
    """Means and variances by every rule."""
    found = {name: [rule(batches) for rule in rules().values()] for name, batches in kinds().items()}
    return [
        Table(
            f"{what} of all values, by rule",
            ["batches", *rules()],
            [
                [name, *("none" if np.isnan(pair[part]) else f"{pair[part]:.4f}" for pair in pairs)]
                for name, pairs in found.items()
            ],
        )
        for part, what in enumerate(("Mean", "Variance"))
    ]


def main(args: list[str] | None = None) -> int:
    """Measure, and return the exit status."""
    return program.run(Options, args, work)


def work(options: Options, console: Console) -> None:
    """Measure, print and write the tables."""
    config.require_writable("--out", options.out)
    tables = measure()
    for table in tables:
        table.show([table.title], console)
    results.write_summary(options.out, {"measured": {t.title: t.cells() for t in tables}}, markdown(tables))
    results.name_files(options.out, ("summary.md", "summary.json"), console)


if __name__ == "__main__":
    program.leave(main())
