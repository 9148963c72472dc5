"""Which learning rates are too large?

Takes 10 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.least_squares --seeds 3 --out results/try

Gradient descent on a least squares problem diverges as soon as the learning rate is above 2 / L, with L the largest
eigenvalue of the covariance of the inputs. With batch norm between the weights and the scale, it converges for any
learning rate of the weights: steps that are too large make the weights longer, until they suit the rate. From there on
the rate that counts falls as 1 / rate, so that ten times the rate takes ten times the steps.

Cai, Li and Shen, "A quantitative analysis of the effect of batch normalization on gradient descent", ICML 2019, arXiv:
1810.00122, section 3. Expected: without batch norm the error grows at 2.01 / L and vanishes at 1.99 / L; with it, it
vanishes at all rates from 1e-2 to 1e4 times 1 / L within a million steps, and the last of them takes 10 times as long
as the one before, within 5 %. In float64. Writes `summary.md`, `summary.json` and `least_squares.png`.
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
from experiments.harness.placement import fetch
from experiments.harness.precision import computing_in
from experiments.harness.progress import progress
from jaxbn import BatchNormParams, batch_norm, init_state

STUDY = study.Study(
    "least_squares",
    "On least squares, gradient descent diverges from a rate of 2 / L on; with batch norm before the scale, at no rate",
    "Cai, Li and Shen, ICML 2019, arXiv:1810.00122, section 3",
    0.2,
)
EXAMPLES, INPUTS, CONDITION = 64, 8, 10.0
# The rates of the weights times L, and of the scale.
PLAIN, NORMALIZED, SCALE_RATE = (1e-2, 1e-1, 1.0, 1.99, 2.01), (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4), 0.5
MOST_STEPS = 1_000_000
# Of the error at the start.
VANISHED, GROWN = 1e-6, 1e6


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 10
    out: Path = Path("results/studies/least_squares")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Descend without and with batch norm, and report."""
    cfg.check()
    seeds, done = np.asarray(cfg.all_seeds()), 0
    found: dict[bool, list[np.ndarray]] = {False: [], True: []}
    with progress(console, STUDY.name, len(PLAIN) + len(NORMALIZED)) as on_progress, computing_in(float64=True):
        for normalized, rates in ((False, PLAIN), (True, NORMALIZED)):
            for rate in rates:
                found[normalized].append(fetch(steps_needed(seeds, rate, normalized=normalized)))
                on_progress(done := done + 1)
    plain, with_norm = np.stack(found[False]), np.stack(found[True])
    measured = {"without": plain, "with": with_norm}
    study.report(STUDY, cfg, judge(plain, with_norm), draw(plain, with_norm), console, measured=measured)


@partial(jax.jit, static_argnames="normalized")
def steps_needed(seeds: jax.Array, rate: jax.Array, *, normalized: bool, most: float = MOST_STEPS) -> jax.Array:
    """Until the error has vanished, of each seed; negative if it has grown instead, and infinite if it did neither."""
    return jax.vmap(lambda seed: descend(jax.random.key(seed), rate, normalized, most))(seeds)


def problem(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Inputs with a mean of 0, targets without noise, so that the least error is 0, and weights to start from."""
    of_x, of_target, of_start = jax.random.split(key, 3)
    x = jax.random.normal(of_x, (EXAMPLES, INPUTS))
    x = (x - x.mean(0, keepdims=True)) * CONDITION ** jnp.linspace(0, -0.5, INPUTS)[None]
    return x, x @ jax.random.normal(of_target, (INPUTS, 1)), jax.random.normal(of_start, (INPUTS, 1))


def descend(key: jax.Array, rate: jax.Array, normalized: bool, most: float) -> jax.Array:
    """Gradient descent on one problem."""
    x, targets, w = problem(key)
    rates = (rate / jnp.linalg.eigvalsh(x.T @ x / EXAMPLES)[-1], SCALE_RATE if normalized else 0.0)
    start = (w, jnp.ones(1))

    def error(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        w, scale = weights
        outputs = x @ w
        if normalized:
            # A mean of 1 is no mean to batch norm.
            params, state = BatchNormParams(scale, None), init_state(1)
            outputs, _ = batch_norm(params, state, (x + 1) @ w, train=True, epsilon=0.0)
        return jnp.mean(jnp.square(outputs - targets)) / 2

    first = error(start)

    def goes_on(carry: Any) -> jax.Array:
        _, now, steps = carry
        return (now > VANISHED * first) & (now < GROWN * first) & (steps < most)

    def step(carry: Any) -> Any:
        weights, _, steps = carry
        slopes = jax.grad(error)(weights)
        weights = tuple(w - r * slope for w, r, slope in zip(weights, rates, slopes, strict=True))
        return weights, error(weights), steps + 1.0

    _, last, steps = jax.lax.while_loop(goes_on, step, (start, first, jnp.zeros(())))
    return jnp.where(last <= VANISHED * first, steps, jnp.where(last >= GROWN * first, -steps, jnp.inf))


def judge(plain: np.ndarray, normalized: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured, steps `[rates, seeds]`."""
    vanished = np.isfinite(normalized) & (normalized > 0)
    return [
        study.at_least("share of seeds that converge without batch norm at 1.99 / L", plain[-2] > 0, 1),
        study.at_least("share that diverges without batch norm at 2.01 / L", plain[-1] < 0, 1),
        study.at_least("share that converges with batch norm, all rates from 0.01 / L to 10,000 / L", vanished, 1),
        study.near("steps at 10,000 / L beside those at 1,000 / L", normalized[-1] / normalized[-2], 10, percent=5),
    ]


def draw(plain: np.ndarray, normalized: np.ndarray) -> Any:
    """Steps against the rate."""
    figure, (ax,) = plotting.new_figure(1)
    plotting.band(ax, NORMALIZED, list(normalized), label="with batch norm", colour=plotting.COLOURS[0])
    large = NORMALIZED[3:]
    ax.plot(large, normalized[-1].mean() * np.divide(large, large[-1]), "k--", label="in proportion to the rate")
    label, colour = "without batch norm", plotting.COLOURS[1]
    plotting.band(ax, PLAIN[:-1], list(plain[:-1]), label=label, colour=colour)
    ax.axvline(2, color=colour, linestyle=":", label="2 / L: diverges beyond, without")
    ax.set(xscale="log", yscale="log", title="With batch norm no rate diverges", xlabel="rate of the weights times L")
    ax.set(ylabel="steps until a millionth of the error is left")
    plotting.legend_below(figure, ax)
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
