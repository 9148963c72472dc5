"""How fast do weights turn?

Takes 30 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.spherical_motion --seeds 3 --out results/try

Weights before batch norm have a direction and a length, and only the direction matters. Gradients, at a right angle to
the weights, make them longer; weight decay makes them shorter. Where the two balance, the angle by which the weights of
a unit turn in a step depends neither on the net nor on the data, but on the optimizer alone:

    sqrt(2 h l / (1 + m))                   SGD with rate h, weight decay l, momentum m
    sqrt(2 h l (1 - b1) / (1 + b1))         AdamW, whose decay is not part of the gradient

Wan et al., "Spherical motion dynamics", NeurIPS 2021 (SGD); Kosson et al., "Rotational equilibrium", ICML 2024,
arXiv:2305.17212 (AdamW). It is a law about the mean square: the median over units is smaller.

Expected: the root mean square over units and the last 1,000 of 6,000 steps is within 3 % of it for SGD, 0.03162 rad
without and 0.02294 with momentum, and within 5 % for AdamW. Writes `summary.md`, `summary.json` and
`spherical_motion.png`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.placement import fetch
from experiments.harness.progress import progress
from jaxbn import batch_norm, init_batch_norm

STUDY = study.Study(
    "spherical_motion",
    "In equilibrium, weights before batch norm turn by sqrt(2 h l / (1 + m)) in each step of SGD",
    "Wan et al., NeurIPS 2021 (SGD); Kosson et al., ICML 2024, arXiv:2305.17212 (AdamW)",
    0.5,
)
BATCH, INPUTS, UNITS, CLASSES = 32, 20, 64, 10
# Of 6,000: the lengths settle within 1 / (2 h l) = 1,000 steps.
LAST = 1_000


class Case(NamedTuple):
    """An optimizer, and the angle that is predicted for it."""

    name: str
    optimizer: optax.GradientTransformation
    angle: float
    percent: float


def sgd(rate: float, decay: float, momentum: float) -> Case:
    """Weight decay as a part of the gradient."""
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum))
    name = f"SGD, momentum {momentum:g}" if momentum else "SGD"
    return Case(name, optimizer, float(np.sqrt(2 * rate * decay / (1 + momentum))), 3)


def adamw(rate: float, decay: float, b1: float) -> Case:
    """Weight decay beside the gradient."""
    angle = np.sqrt(2 * rate * decay * (1 - b1) / (1 + b1))
    return Case("AdamW", optax.adamw(rate, b1=b1, weight_decay=decay), float(angle), 5)


CASES = (sgd(0.1, 5e-3, 0.0), sgd(0.1, 5e-3, 0.9), adamw(5e-3, 0.1, 0.9))


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    steps: int = 6_000
    """Training steps."""
    seeds: int = 10
    out: Path = Path("results/studies/spherical_motion")


class Angles(NamedTuple):
    """By which the weights of all units turned, over units, in radians: `[..., steps]`."""

    root_mean_square: Any
    median: Any


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Train with each optimizer, and report."""
    config.require_at_least("--steps", cfg.steps, LAST)
    cfg.check()
    found = []
    with progress(console, STUDY.name, len(CASES)) as on_progress:
        for number, case in enumerate(CASES, 1):
            found.append(fetch(train(case.optimizer, np.asarray(cfg.all_seeds()), steps=cfg.steps)))
            on_progress(number)
    medians = [f"{case.name} {ratio(angles):.2f}" for case, angles in zip(CASES, found, strict=True)]
    notes = [f"The median over units is smaller than their root mean square: {', '.join(medians)} of it."]
    measured = {case.name: settled(angles) for case, angles in zip(CASES, found, strict=True)}
    study.report(STUDY, cfg, judge(found), draw(found), console, measured=measured, notes=notes)


@partial(jax.jit, static_argnums=0, static_argnames=("steps", "units"))
def train(optimizer: optax.GradientTransformation, seeds: np.ndarray, *, steps: int, units: int = UNITS) -> Angles:
    """How far the weights before batch norm turn in each step, of all seeds."""
    return jax.vmap(lambda seed: train_one(optimizer, seed, steps, units))(seeds)


def train_one(optimizer: optax.GradientTransformation, seed: jax.Array, steps: int, units: int) -> Angles:
    """The same of one, while they learn the classes of a noisy teacher."""
    key, *keys = jax.random.split(jax.random.key(seed), 4)
    shapes = ((INPUTS, units), (units, CLASSES), (INPUTS, CLASSES))
    w, readout, teacher = (jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(keys, shapes, strict=True))
    params, state = init_batch_norm(units, use_scale=False, use_bias=False)

    def loss(w: jax.Array, key: jax.Array) -> jax.Array:
        of_x, of_label = jax.random.split(key)
        x = jax.random.normal(of_x, (BATCH, INPUTS))
        label = jax.random.categorical(of_label, x @ teacher)
        y, _ = batch_norm(params, state, x @ w, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(jax.nn.relu(y) @ readout, label).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, Angles]:
        w, memory = carry
        updates, memory = optimizer.update(jax.grad(loss)(w, key), memory, w)
        new = optax.apply_updates(w, updates)
        turned = angle(w, new)
        return (new, memory), Angles(jnp.sqrt(jnp.mean(turned**2)), jnp.median(turned))

    return jax.lax.scan(step, (w, optimizer.init(w)), jax.random.split(key, steps))[1]


def angle(old: jax.Array, new: jax.Array) -> jax.Array:
    """Between the columns of two matrices; by their chord, for the cosine of a small angle keeps few of its digits."""
    old, new = (w / jnp.linalg.norm(w, axis=0, keepdims=True) for w in (old, new))
    return 2 * jnp.arcsin(jnp.linalg.norm(new - old, axis=0) / 2)


def settled(angles: Angles) -> np.ndarray:
    """The root mean square over the last steps, of each seed."""
    return np.sqrt(np.mean(np.square(angles.root_mean_square[..., -LAST:]), -1))


def ratio(angles: Angles) -> float:
    """The median over units beside their root mean square."""
    return float(np.mean(angles.median[..., -LAST:]) / np.mean(settled(angles)))


def judge(found: list[Angles]) -> list[study.Verdict]:
    """What was predicted beside what was measured."""
    return [
        study.near(f"angle per step in rad, {case.name}", settled(angles), case.angle, percent=case.percent, digits=5)
        for case, angles in zip(CASES, found, strict=True)
    ]


def draw(found: list[Angles], window: int = 50) -> Any:
    """The angle as it settles, with the prediction; means over neighbouring steps."""
    figure, (ax,) = plotting.new_figure(1)
    for case, angles, colour in zip(CASES, found, plotting.COLOURS, strict=False):
        squares = np.square(angles.root_mean_square)
        squares = squares[:, : squares.shape[1] // window * window].reshape(len(squares), -1, window)
        steps = window * (np.arange(squares.shape[1]) + 0.5)
        plotting.band(ax, list(steps), list(np.sqrt(squares.mean(-1)).T), label=case.name, colour=colour)
        ax.axhline(case.angle, color=colour, linestyle="--", linewidth=1)
    ax.plot([], "k--", linewidth=1, label="predicted in equilibrium")
    ax.set(title="Weights turn at a speed that the optimizer sets", xlabel="step", yscale="log")
    ax.set(ylabel="angle per step in rad, RMS over units", ylim=(5e-3, 0.04))
    plotting.plain_numbers(ax.yaxis)
    ax.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
