"""Which of all separating planes is found?

Takes 5 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.uniform_margin --seeds 3 --out results/try

With fewer examples than inputs, many linear models classify all examples rightly. Gradient descent on the logistic loss
goes to the one whose smallest margin is the largest; other examples lie further away. With batch norm between the
weights and the scale, it goes to one where all margins, `label * output`, are equal.

Cao, Zou, Li and Gu, "The implicit bias of batch normalization in linear models and two-layer linear convolutional
neural networks", COLT 2023, arXiv:2306.11680, section 2. Their norm does not take the mean away: neither does batch
norm where each example has its mirror image in the batch, with the opposite label.

Expected: after 2,000 steps the smallest margin is at least 0.999 of the largest with batch norm, and at most 0.8
without, in every seed. In float64. Writes `summary.md`, `summary.json` and `uniform_margin.png`.
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

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.placement import fetch
from experiments.harness.precision import computing_in
from experiments.harness.progress import progress
from jaxbn import BatchNormParams, batch_norm, init_state

STUDY = study.Study(
    "uniform_margin",
    "Gradient descent on a linear model with batch norm makes all margins equal; without, it makes the smallest large",
    "Cao, Zou, Li and Gu, COLT 2023, arXiv:2306.11680, section 2",
    0.1,
)
EXAMPLES, INPUTS, RATE = 20, 50, 0.1
KINDS = ("with batch norm", "without batch norm")


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    steps: int = 2_000
    """Steps of gradient descent."""
    seeds: int = 10
    out: Path = Path("results/studies/uniform_margin")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Descend with and without batch norm, and report."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()
    found = []
    with progress(console, STUDY.name, len(KINDS)) as on_progress, computing_in(float64=True):
        for number, kind in enumerate(KINDS, 1):
            normalized = kind == KINDS[0]
            margins = of_all(np.asarray(cfg.all_seeds()), normalized=normalized, steps=cfg.steps)
            found.append(fetch(margins))
            on_progress(number)
    measured = {kind: margins[:, -1] for kind, margins in zip(KINDS, found, strict=True)}
    study.report(STUDY, cfg, judge(found), draw(found), console, measured=measured)


@partial(jax.jit, static_argnames=("normalized", "steps"))
def of_all(seeds: jax.Array, *, normalized: bool, steps: int) -> jax.Array:
    """The margins of all examples after each step, of each seed, `[seeds, steps, examples]`."""
    return jax.vmap(lambda seed: margins(jax.random.key(seed), normalized, steps))(seeds)


def margins(key: jax.Array, normalized: bool, steps: int) -> jax.Array:
    """Of one problem."""
    of_x, of_label, of_start = jax.random.split(key, 3)
    x = jax.random.normal(of_x, (EXAMPLES, INPUTS))
    label = jax.random.rademacher(of_label, (EXAMPLES,), x.dtype)
    start = (jax.random.normal(of_start, (INPUTS, 1)) / INPUTS**0.5, jnp.ones(1))

    def margin(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        w, scale = weights
        outputs = x @ w
        if normalized:
            both = jnp.concatenate([outputs, -outputs])
            both, _ = batch_norm(BatchNormParams(scale, None), init_state(1), both, train=True, epsilon=0.0)
            outputs = both[:EXAMPLES]
        return label * outputs[:, 0]

    def loss(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.nn.softplus(-margin(weights)).mean()

    def step(weights: Any, _: None) -> tuple[Any, jax.Array]:
        weights = jax.tree.map(lambda w, slope: w - RATE * slope, weights, jax.grad(loss)(weights))
        return weights, margin(weights)

    return jax.lax.scan(step, start, length=steps)[1]


def equality(margins: np.ndarray) -> np.ndarray:
    """The smallest margin beside the largest, `[...]`; below 0 where an example is on the wrong side."""
    return margins.min(-1) / np.abs(margins).max(-1)


def judge(found: list[np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured."""
    with_norm, plain = (equality(margins[:, -1]) for margins in found)
    what = "smallest margin / largest,"
    return [
        study.at_least(f"{what} {KINDS[0]}", with_norm, 0.999, every=True, digits=4),
        study.at_most(f"{what} {KINDS[1]}", plain, 0.8, every=True, digits=4),
    ]


def draw(found: list[np.ndarray]) -> Any:
    """Equality against steps, and the margins of one problem at the end."""
    figure, (left, right) = plotting.new_figure(2)
    for kind, margins, colour in zip(KINDS, found, plotting.COLOURS, strict=False):
        steps = np.unique(np.geomspace(1, margins.shape[1], 100).astype(int))
        plotting.band(left, list(steps), list(equality(margins)[:, steps - 1].T), label=kind, colour=colour)
        last = margins[0, -1] / margins[0, -1].mean()
        right.plot(np.sort(last), f"{plotting.MARKERS[colour]}-", label=kind, color=colour)
    left.axhline(1, color="k", linestyle="--", label="predicted with batch norm")
    left.set(xscale="log", xlabel="step", ylabel="smallest margin / largest", ylim=(-1, 1.1))
    left.set(title="Batch norm makes all margins equal")
    left.legend()
    right.set(title="Margins of one problem at the end", xlabel="example, by its margin", ylim=(0, None))
    right.set(ylabel="margin / mean margin")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
