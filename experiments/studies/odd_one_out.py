"""Is it centring that leaves one sample out?

Takes 15 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.odd_one_out --seeds 5 --out results/try

Random dense layers, each followed by a norm that centres every feature over the batch, and ReLU. If the norm rescales
all features together, by one number, a batch collapses with depth: all samples but one into a cluster, with cosines
towards 1, and the odd one orthogonal to it, with cosines towards 0. If it rescales every feature by its own standard
deviation, as batch norm does, no one is left out: the samples stay at equal angles from each other. The cosines of the
normalised values are then c = -1/(B - 1) in a batch of B, and after ReLU

    J(c) = (sqrt(1 - c**2) + (pi - arccos(c)) c) / pi,    .302 at B = 32.

So the collapse is no property of batch norm, but of what is left of it without its variances. The norm of one number is
`jaxbn.normalize` with the mean of every feature and the mean of all variances.

Sources: Nachum, Bondaschi, Gastpar and Khina, "Batch normalization decomposed", arXiv 2412.02843 (abstract: centring,
then ReLU); Yang et al., "A mean field theory of batch normalization", ICLR 2019 (J). Expected, as means over 20 seeds
at layer 300: the odd one's mean cosine at most 0.01, the cluster's at least 0.9; with batch norm within 0.02 of J. The
odd one stays the same sample; the cluster of a single net is looser now and then, down to 0.6. Writes `summary.md`,
`summary.json` and `odd_one_out.png`.
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
from jaxbn import BatchNormParams, batch_moments, batch_norm, init_state, normalize

STUDY = study.Study(
    "odd_one_out",
    "Centring, one scale for all features, and ReLU leave a cluster and one odd sample; batch norm leaves no one out",
    "Nachum et al. 2024, abstract; Yang et al. 2019",
    0.3,
)
BATCH, LAYERS = 32, 300
# The name of the norm, and the width of its net.
GLOBAL, FEATURES = "one scale for all", "batch norm"
WIDTHS = {GLOBAL: 128, FEATURES: 256}


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 20
    out: Path = Path("results/studies/odd_one_out")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Measure and report."""
    cfg.check()
    found = dict[str, np.ndarray]()
    with progress(console, STUDY.name, len(WIDTHS)) as on_progress:
        for kind, width in WIDTHS.items():
            found[kind] = fetch(cosines(np.asarray(cfg.all_seeds()), kind, width, LAYERS))
            on_progress(len(found))
    odd, cluster = apart(found[GLOBAL])
    kept = of_pairs(found[FEATURES])
    measured = {"odd": odd[:, -1], "cluster": cluster[:, -1], "batch norm": kept[:, -1]}
    verdicts = judge(odd[:, -1], cluster[:, -1], kept[:, -1])
    study.report(STUDY, cfg, verdicts, draw(odd, cluster, kept), console, measured=measured)


@partial(jax.jit, static_argnames=("kind", "width", "layers"))
@partial(jax.vmap, in_axes=(0, None, None, None))
def cosines(seed: int, kind: str, width: int, layers: int) -> jax.Array:
    """`[seeds, layers, batch, batch]`: of the samples in every layer of random nets."""
    params, state = BatchNormParams(None, None), init_state(width)

    def global_norm(z: jax.Array) -> jax.Array:
        of_z = batch_moments(z)
        return normalize(params, z, of_z.mean, jnp.full(width, (of_z.m2 / of_z.count).mean()), epsilon=0)

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = h @ jax.random.normal(key, (width, width)) / jnp.sqrt(width)
        h = jax.nn.relu(global_norm(z) if kind == GLOBAL else batch_norm(params, state, z, train=True, epsilon=0)[0])
        directions = h / jnp.linalg.norm(h, axis=1, keepdims=True)
        return h, directions @ directions.T

    of_input, of_layers = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(of_input, (BATCH, width))
    return jax.lax.scan(layer, x, jax.random.split(of_layers, layers))[1]


def apart(similar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosines of the odd one with the others, and of the others among themselves.

    Args:
        similar: the cosines `[..., batch, batch]`; the odd one is the sample with the lowest mean.
    """
    size = similar.shape[-1]
    of_samples = (similar.sum(-1) - 1) / (size - 1)
    odd = of_samples.min(-1)
    # Of the sum over all pairs, those with the odd one count twice.
    return odd, (of_pairs(similar) * size - 2 * odd) / (size - 2)


def of_pairs(similar: np.ndarray) -> np.ndarray:
    """The mean cosine of all pairs, of cosines `[..., batch, batch]`."""
    size = similar.shape[-1]
    return (similar.sum((-1, -2)) - size) / (size * (size - 1))


def predicted(batch: int) -> float:
    """The cosine of two samples after batch norm and ReLU."""
    c = -1 / (batch - 1)
    return float((np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi)


def judge(odd: np.ndarray, cluster: np.ndarray, kept: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured in the last layer, `[seeds]`."""
    j = predicted(BATCH)
    return [
        study.at_most(f"cosine of the odd one, {GLOBAL}", odd, 0.01, digits=4),
        study.at_least(f"cosine within the cluster, {GLOBAL}", cluster, 0.9, digits=3),
        study.between("cosine of all pairs, batch norm", kept, round(j - 0.02, 3), round(j + 0.02, 3), digits=3),
    ]


def draw(odd: np.ndarray, cluster: np.ndarray, kept: np.ndarray) -> Any:
    """Cosines by layer, of `[seeds, layers]`."""
    figure, (ax,) = plotting.new_figure(1)
    layers = np.arange(1, LAYERS + 1)
    lines = {f"{GLOBAL}: the cluster": cluster, f"{GLOBAL}: the odd one": odd, f"{FEATURES}: all pairs": kept}
    for (name, of_layers), colour in zip(lines.items(), (*plotting.COLOURS[1:5:3], plotting.COLOURS[0]), strict=True):
        plotting.band(ax, layers.tolist(), [*of_layers.T], label=name, colour=colour)
    for value, style in ((1, ":"), (0, ":"), (predicted(BATCH), "--")):
        ax.axhline(value, color="black", linestyle=style, linewidth=1)
    ax.plot([], "k--", linewidth=1, label=f"J(-1/(B - 1)) = {predicted(BATCH):.3f}")
    ax.set(title=f"Without variances, {BATCH} samples become a cluster and an odd one", xlabel="layer")
    ax.set(ylabel="mean cosine of the samples")
    ax.legend(title="mean and range of seeds", loc="center right")
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
