"""How noisy is a running mean?

Takes 5 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.ema_noise --seeds 3 --out results/try

A running mean with momentum m, the weight of the old value, is a weighted sum of the means of all batches so far, of B
values each. For independent values with standard deviation sigma, its own standard deviation becomes

    sigma * sqrt((1 - m) / ((1 + m) * B)),

from `sum((1 - m)**2 * m**(2 i)) = (1 - m) / (1 + m)` and a variance of `sigma**2 / B` of each batch mean. The running
variance has the mean of the batch variances, `(B - 1) / B * sigma**2`, or `sigma**2` with `ddof=1`. Expected: within
5 % of the spread for momenta of 0.1, 0.9 and 0.99, within 0.5 % of the variances. Writes `summary.md`, `summary.json`
and `ema_noise.png`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
    spreads, variances = np.empty((len(MOMENTA), cfg.seeds)), np.empty((2, len(MOMENTA), cfg.seeds))
    with progress(console, STUDY.name, spreads.size) as on_progress:
        for (i, k), _ in np.ndenumerate(spreads):
            spreads[i, k], variances[:, i, k] = running(cfg.all_seeds()[k], MOMENTA[i])
            on_progress(i * cfg.seeds + k + 1)
    measured = {"spreads": spreads, "variances": variances}
    study.report(STUDY, cfg, judge(spreads, variances), draw(spreads), console, measured=measured)


@partial(jax.jit, static_argnames=("momentum", "steps", "features"))
def running(seed: int, momentum: float, *, steps: int = STEPS, features: int = FEATURES) -> tuple[jax.Array, jax.Array]:
    """The spread over features of their running means, and the means of their running variances, after so many batches.

    In units of sigma and of its square; the variances with a ddof of 0 and of 1, `[2]`.
    """

    def step(states: list[BatchNormState], key: jax.Array) -> tuple[list[BatchNormState], None]:
        moments = batch_moments(SIGMA * jax.random.normal(key, (BATCH, features)))
        return [
            update_state(states[0], moments, momentum=momentum),
            update_state(states[1], moments, momentum=momentum, ddof=1),
        ], None

    start = [init_state(features)] * 2
    states, _ = jax.lax.scan(step, start, jax.random.split(jax.random.key(seed), steps))
    return states[0].mean.std() / SIGMA, jnp.stack([state.var.mean() for state in states]) / SIGMA**2


def predicted(momentum: float) -> float:
    """The same by theory."""
    return float(np.sqrt((1 - momentum) / ((1 + momentum) * BATCH)))


def judge(spreads: np.ndarray, variances: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured, `[momenta, seeds]` and `[ddof, momenta, seeds]`."""
    found = [
        study.near(f"spread of the running mean / sigma, momentum {m:g}", of_m, predicted(m), percent=5)
        for m, of_m in zip(MOMENTA, spreads, strict=True)
    ]
    of = f"mean of the running variance / sigma^2, momentum {MOMENTA[-1]:g}, ddof"
    biased, unbiased = variances[:, -1]
    return [
        *found,
        study.near(f"{of} 0", biased, (BATCH - 1) / BATCH, percent=0.5),
        study.near(f"{of} 1", unbiased, 1, percent=0.5),
    ]


def draw(spreads: np.ndarray) -> Any:
    """Spread against momentum, with the prediction."""
    figure, (ax,) = plotting.new_figure(1)
    momenta = np.linspace(0, 0.995, 200)
    ax.plot(momenta, [predicted(m) for m in momenta], "k-", label="sqrt((1 - m) / ((1 + m) B))")
    for momentum, of_seeds in zip(MOMENTA, spreads, strict=True):
        ax.plot([momentum] * len(of_seeds), of_seeds, "o", color=plotting.COLOURS[0])
    ax.plot([], "o", color=plotting.COLOURS[0], label="measured, each seed")
    ax.set(
        title="The larger the momentum, the less noise is in a running mean",
        xlabel="momentum m, weight of the old value",
    )
    ax.set(ylabel=f"standard deviation / sigma, batches of {BATCH}", ylim=(0, None))
    ax.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
