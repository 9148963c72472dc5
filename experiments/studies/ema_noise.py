"""How noisy is a running mean? `python -m experiments.studies.ema_noise`.

A running mean with momentum m, the weight of the old value, is a weighted sum of the means of all batches so far, of B
values each. For independent values with standard deviation sigma, its own standard deviation becomes

    sigma * sqrt((1 - m) / ((1 + m) * B)),

from `sum((1 - m)**2 * m**(2 i)) = (1 - m) / (1 + m)` and a variance of `sigma**2 / B` of each batch mean. Expected:
within 5 % of this for momenta of 0.1, 0.9 and 0.99. Takes 5 seconds on 2 cores. Writes `summary.md`, `summary.json` and
`ema_noise.png`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.harness import compilation, plotting, program, study
from experiments.harness.progress import progress
from jaxbn import BatchNormState, batch_moments, init_state, update_state

STUDY = study.Study(
    "ema_noise",
    "The spread of a running mean is sigma * sqrt((1 - m) / ((1 + m) B)) for momentum m and batches of B",
    "derived: the variance of a geometrically weighted sum of independent batch means",
    0.1,
)
MOMENTA = (0.1, 0.9, 0.99)
BATCH = 32
FEATURES = 1_000
SIGMA = 3.0
# 0.99**1000 is 4e-5: nothing is left of the start.
STEPS = 1_000


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 10
    out: Path = Path("results/studies/ema_noise")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Measure and report."""
    cfg.check()
    spreads = np.empty((len(MOMENTA), cfg.seeds))
    with progress(console, STUDY.name, spreads.size) as on_progress:
        for (i, k), _ in np.ndenumerate(spreads):
            spreads[i, k] = spread(cfg.all_seeds()[k], MOMENTA[i])
            on_progress(i * cfg.seeds + k + 1)
    study.report(STUDY, cfg, judge(spreads), draw(spreads), console, measured={"spreads": spreads})


@partial(jax.jit, static_argnames=("momentum", "steps", "features"))
def spread(seed: int, momentum: float, *, steps: int = STEPS, features: int = FEATURES) -> jax.Array:
    """The standard deviation over features of their running means, in units of sigma, after so many batches."""

    def step(state: BatchNormState, key: jax.Array) -> tuple[BatchNormState, None]:
        x = SIGMA * jax.random.normal(key, (BATCH, features))
        return update_state(state, batch_moments(x), momentum=momentum), None

    state, _ = jax.lax.scan(step, init_state(features), jax.random.split(jax.random.key(seed), steps))
    return state.mean.std() / SIGMA


def predicted(momentum: float) -> float:
    """The same by theory."""
    return float(np.sqrt((1 - momentum) / ((1 + momentum) * BATCH)))


def judge(spreads: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured, `[momenta, seeds]`."""
    return [
        study.near(f"spread of the running mean / sigma, momentum {m:g}", of_m, predicted(m), percent=5)
        for m, of_m in zip(MOMENTA, spreads, strict=True)
    ]


def draw(spreads: np.ndarray) -> Any:
    """Spread against momentum, with the prediction."""
    figure, (ax,) = plotting.new_figure(1)
    momenta = np.linspace(0, 0.995, 200)
    ax.plot(momenta, [predicted(m) for m in momenta], "k-", label="sqrt((1 - m) / ((1 + m) B))")
    for momentum, of_seeds in zip(MOMENTA, spreads, strict=True):
        ax.plot([momentum] * len(of_seeds), of_seeds, "o", color=plotting.COLOURS[0])
    ax.plot([], "o", color=plotting.COLOURS[0], label="measured, each seed")
    ax.set(title=f"Noise of a running mean, batches of {BATCH}", xlabel="momentum m, weight of the old value")
    ax.set(ylabel="standard deviation / sigma", ylim=(0, None))
    ax.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
