"""How do weights grow before batch norm?

Takes 30 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.norm_growth --steps 200 --out results/try

The gradient of weights before batch norm is at a right angle to them, unit by unit. Each step of plain gradient
descent with rate h and without weight decay therefore makes them longer, by Pythagoras:

    |w_t|**2 = |w_0|**2 + h**2 * (the sum of |gradient|**2 over all steps),

and no step ever makes them shorter. Arora, Li and Lyu, "Theoretical analysis of auto rate-tuning by batch
normalization", ICLR 2019, section 2. Exact where epsilon is 0, and otherwise up to an error that is proportional to
epsilon. The error is measured relative to what the squared length has grown by; relative to the whole, which hardly
grows, it would always be small.

A ReLU net with three batch norms learns the classes of a noisy teacher, in float64. Expected: an error of at most 1e-3
in every layer at epsilon 1e-5, in every seed, and at epsilon 0 no step that makes the weights of any unit shorter.
Writes `summary.md`, `summary.json` and `norm_growth.png`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import compilation, config, plotting, program, study
from experiments.harness.placement import fetch
from experiments.harness.precision import computing_in
from experiments.harness.progress import progress
from jaxbn.linen import BatchNorm

STUDY = study.Study(
    "norm_growth",
    "Without weight decay, weights before batch norm grow in each step: |w|**2 by h**2 |gradient|**2",
    "Arora, Li and Lyu, ICLR 2019, section 2; Wan et al., NeurIPS 2021",
    0.5,
)
BATCH, INPUTS, WIDTH, LAYERS, CLASSES = 32, 20, 24, 3, 10
RATE = 0.1
EPSILONS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
JUDGED = EPSILONS.index(1e-5)


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    steps: int = 1_000
    """Training steps."""
    seeds: int = 10
    out: Path = Path("results/studies/norm_growth")


class Growth(NamedTuple):
    """Of the weights before each batch norm, by the steps that were made.

    Attributes:
        squared_norm: of all units of a layer, `[..., steps, layers]`.
        squared_steps: the sum of their squared changes until then, `[..., steps, layers]`.
        least: the least change of the squared norm of any unit in any step, beside its norm then, `[...]`.
    """

    squared_norm: Any
    squared_steps: Any
    least: Any


class Net(nn.Module):
    """Dense layers with batch norm."""

    epsilon: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From inputs to logits."""
        norm = partial(BatchNorm, use_running_average=False, param_dtype=float)
        for _ in range(LAYERS):
            x = nn.Dense(WIDTH, use_bias=False, param_dtype=float)(x)
            x = nn.relu(norm(epsilon=self.epsilon)(x))
        return nn.Dense(CLASSES, param_dtype=float)(x)


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Train with each epsilon, and report."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()
    found = []
    with progress(console, STUDY.name, len(EPSILONS)) as on_progress:
        for number, epsilon in enumerate(EPSILONS, 1):
            found.append(grow(cfg.all_seeds(), epsilon, steps=cfg.steps))
            on_progress(number)
    growth = Growth(*map(np.stack, zip(*found, strict=True)))
    measured = {"epsilons": EPSILONS, "errors": errors(growth), "least": growth.least}
    study.report(STUDY, cfg, judge(growth), draw(growth), console, measured=measured)


def grow(seeds: list[int], epsilon: float, *, steps: int) -> Growth:
    """Train all seeds."""
    with computing_in(float64=True):
        return fetch(train(np.asarray(seeds), epsilon, steps=steps))


@partial(jax.jit, static_argnames="steps")
def train(seeds: jax.Array, epsilon: jax.Array, *, steps: int) -> Growth:
    """Each seed learns the classes of a noisy teacher of its own, from batches that are always new."""
    return jax.vmap(lambda seed: train_one(jax.random.key(seed), Net(epsilon), steps))(seeds)


def train_one(key: jax.Array, net: Net, steps: int) -> Growth:
    """Train the net on one seed."""
    init_key, teacher_key, key = jax.random.split(key, 3)
    teacher = jax.random.normal(teacher_key, (INPUTS, CLASSES))
    optimizer = optax.sgd(RATE)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        of_x, of_label = jax.random.split(key)
        x = jax.random.normal(of_x, (BATCH, INPUTS))
        label = jax.random.categorical(of_label, x @ teacher)
        logits, _ = net.apply({"params": params}, x, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        params, memory, squared_steps, least = carry
        updates, memory = optimizer.update(jax.grad(loss)(params, key), memory, params)
        new = optax.apply_updates(params, updates)
        before, after, change = map(squares, (params, new, updates))
        squared_steps += change.sum(-1)
        least = jnp.minimum(least, jnp.min((after - before) / before))
        return (new, memory, squared_steps, least), (after.sum(-1), squared_steps)

    params = net.init(init_key, jnp.zeros((BATCH, INPUTS)))["params"]
    carry = (params, optimizer.init(params), jnp.zeros(LAYERS), jnp.full((), jnp.inf))
    (*_, least), (squared_norm, squared_steps) = jax.lax.scan(step, carry, jax.random.split(key, steps))
    start = jnp.zeros((1, LAYERS))
    squared_norm = jnp.concatenate([squares(params).sum(-1)[None], squared_norm])
    return Growth(squared_norm, jnp.concatenate([start, squared_steps]), least)


def squares(params: Any) -> jax.Array:
    """The squared norm of the weights before each batch norm, `[layers, units]`."""
    return jnp.stack([jnp.sum(jnp.square(params[f"Dense_{layer}"]["kernel"]), 0) for layer in range(LAYERS)])


def errors(growth: Growth) -> np.ndarray:
    """Of the law at the end, relative to what the squared norms have grown by, `[..., layers]`."""
    grown = growth.squared_norm[..., -1, :] - growth.squared_norm[..., 0, :]
    return np.abs(grown - growth.squared_steps[..., -1, :]) / grown


def judge(growth: Growth) -> list[study.Verdict]:
    """What was predicted beside what was measured."""
    what = f"error / growth, epsilon {EPSILONS[JUDGED]:g}, worst layer"
    least = "least growth of a unit's squared norm in a step, in millionths of it, epsilon 0"
    return [
        study.at_most(what, errors(growth)[JUDGED].max(-1), 1e-3, every=True, digits=6),
        study.at_least(least, 1e6 * growth.least[0], 0, every=True),
    ]


def draw(growth: Growth) -> Any:
    """Growth against steps with the prediction, and its error against epsilon."""
    figure, (left, right) = plotting.new_figure(2)
    norms, steps = growth.squared_norm[JUDGED], growth.squared_steps[JUDGED]
    every = range(0, norms.shape[1], max(1, norms.shape[1] // 100))
    for layer, colour in zip(range(LAYERS), plotting.COLOURS, strict=False):
        start = norms[:, :1, layer]
        grown = list((norms[:, every, layer] / start - 1).T)
        plotting.band(left, list(every), grown, label=f"before batch norm {layer + 1}", colour=colour)
        left.plot(every, (steps[:, every, layer] / start).mean(0), "k--", linewidth=1)
    left.plot([], "k--", linewidth=1, label="h² Σ |gradient|² / |w₀|²")
    left.set(title="Weights before batch norm grow by Pythagoras", xlabel="step", ylabel="|w|² / |w₀|² - 1")
    left.legend()
    of_all = errors(growth)[1:]
    for layer, colour in zip(range(LAYERS), plotting.COLOURS, strict=False):
        label = f"before batch norm {layer + 1}"
        plotting.band(right, EPSILONS[1:], list(of_all[..., layer]), label=label, colour=colour)
    right.plot(
        EPSILONS[1:], np.divide(EPSILONS[1:], EPSILONS[1]) * of_all[0].mean(), "k--", label="in proportion to epsilon"
    )
    right.set(xscale="log", yscale="log", title="Epsilon alone breaks the law", xlabel="epsilon")
    right.set(ylabel="error / growth")
    right.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
