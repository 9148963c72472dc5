"""How many directions are left in a deep net?

Takes 10 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.rank --seeds 5 --out results/try

A batch goes through 200 random dense layers of 32 features. Without batch norm all samples end up on one line, whatever
they were, and nothing can be learned from them any more. With batch norm, at least sqrt(width) directions stay, here 6:
singular values of the hidden values, `[batch, width]`, above a thousandth of the largest.

The stable rank, `sum(s**2) / max(s)**2`, tells the collapse: it goes to 1. It is no measure of what batch norm keeps,
for it stays below sqrt(width) there too: 3.3 without an activation, 2.6 with ReLU. Without batch norm every layer is
rescaled as a whole, or the values would underflow; that changes no ratio of singular values, also with ReLU. Without an
activation the collapse is slower: there the stable rank is shown, and not judged.

Source: Daneshmand, Kohler, Bach, Hofmann and Lucchi, "Batch normalization provably avoids rank collapse for randomly
initialised deep networks", NeurIPS 2020 (as others cite it). Expected: with batch norm 9 to 11 directions without an
activation, 31 or 32 with ReLU; without batch norm, ReLU, a stable rank below 1.05. Writes `summary.md`, `summary.json`
and `rank.png`.
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
from experiments.harness.progress import progress
from experiments.harness.tables import Table, mean_and_spread
from jaxbn import batch_norm, init_batch_norm

STUDY = study.Study(
    "rank",
    "In a deep random net batch norm keeps at least sqrt(width) directions of the data, and without it one is left",
    "Daneshmand et al. 2020",
    0.2,
)
WIDTH, BATCH, LAYERS = 32, 64, 200
# A direction counts from this part of the largest singular value on.
COUNTS = 1e-3
# The next whole number after sqrt(32) = 5.66.
LEAST = 6
NETS = {
    f"{kind}, {activation}": (kind == "batch norm", activation == "ReLU")
    for kind in ("batch norm", "no norm")
    for activation in ("ReLU", "linear")
}

# Of these, the one whose stable rank is judged.
COLLAPSED = "no norm, ReLU"


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 20
    out: Path = Path("results/studies/rank")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Measure and report."""
    cfg.check()
    values: dict[str, np.ndarray] = {}
    with progress(console, STUDY.name, len(NETS)) as on_progress:
        for name, net in NETS.items():
            values[name] = singular_values(fetch(hidden(np.asarray(cfg.all_seeds()), *net, LAYERS)))
            on_progress(len(values))
    last = {name: of_net[:, -1] for name, of_net in values.items()}
    rows = [
        [name, *(mean_and_spread(of_values(of_net).tolist(), 2) for of_values in (directions, stable_rank))]
        for name, of_net in last.items()
    ]
    table = Table(f"Layer {LAYERS} of width {WIDTH}", ["net", "directions", "stable rank"], rows)
    measured = {f"{name}, singular values": of_net for name, of_net in last.items()}
    study.report(STUDY, cfg, judge(last), draw(values), console, measured=measured, tables=[table])


@partial(jax.jit, static_argnames=("norm", "relu", "layers"))
def hidden(seeds: jax.Array, norm: bool, relu: bool, layers: int) -> jax.Array:
    """`[seeds, layers, batch, width]`: the values after each layer of random nets, of random inputs."""
    params, state = init_batch_norm(WIDTH)

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = h @ jax.random.normal(key, (WIDTH, WIDTH)) / jnp.sqrt(WIDTH)
        if norm:
            h, _ = batch_norm(params, state, h, train=True, epsilon=0)
        if relu:
            h = jax.nn.relu(h)
        if not norm:
            h /= jnp.sqrt((h**2).mean())
        return h, h

    def of_seed(seed: jax.Array) -> jax.Array:
        of_input, of_layers = jax.random.split(jax.random.key(seed))
        x = jax.random.normal(of_input, (BATCH, WIDTH))
        return jax.lax.scan(layer, x, jax.random.split(of_layers, layers))[1]

    return jax.vmap(of_seed)(seeds)


def singular_values(h: np.ndarray) -> np.ndarray:
    """Of the last two axes, from the largest to the smallest."""
    return np.linalg.svd(h.astype(np.float64), compute_uv=False)


def directions(values: np.ndarray) -> np.ndarray:
    """How many singular values count beside the largest."""
    return (values > COUNTS * values[..., :1]).sum(-1)


def stable_rank(values: np.ndarray) -> np.ndarray:
    """The sum of the squares of the singular values, divided by the largest square."""
    return (values**2).sum(-1) / values[..., 0] ** 2


def judge(last: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured, of the last layer's singular values `[seeds, width]`."""
    kept = [
        study.at_least(f"directions, {name}", directions(last[name]), LEAST, every=True, digits=1)
        for name, (norm, _) in NETS.items()
        if norm
    ]
    return [*kept, study.at_most(f"stable rank, {COLLAPSED}", stable_rank(last[COLLAPSED]), 1.05, every=True, digits=3)]


def draw(values: dict[str, np.ndarray]) -> Any:
    """The directions by layer."""
    figure, (ax,) = plotting.new_figure(1)
    layers = np.arange(1, LAYERS + 1)
    for number, (name, of_net) in enumerate(values.items()):
        colour, line = plotting.COLOURS[0 if NETS[name][0] else 4], "-:"[number % 2]
        plotting.band(ax, layers.tolist(), [*directions(of_net).T], label=name, colour=colour, linestyle=line)
    ax.axhline(np.sqrt(WIDTH), color="black", linestyle="--", linewidth=1, label="sqrt(width)")
    ax.set(title="Batch norm keeps many directions, no norm one", yscale="log", xlabel="layer")
    ax.set(ylabel="directions")
    plotting.plain_numbers(ax.yaxis)
    about = f"singular values > {COUNTS:g} of the largest, mean and range of seeds"
    plotting.legend_below(figure, ax, 3, title=about)
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
