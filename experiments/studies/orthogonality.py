"""Does normalising make samples orthogonal?

Takes 40 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.orthogonality --seeds 5 --out results/try

A batch of n samples goes through random dense layers, each followed by a norm that divides every feature by its root
mean square over the batch, without centring it. With depth the samples become orthogonal: the orthogonality gap of the
hidden values H, `[n, width]`,

    |H H' / |H|^2 - I / n|    (Frobenius norms),

falls exponentially, down to a level that falls with the width as width**(-1/2): slope -1/2 in a log-log plot. Beside
it, what the theorem is not about: batch norm, whose centred samples add up to 0 and so cannot be orthogonal (its gap
stays above `1 / sqrt(n (n - 1))`), and ReLU, whose values are not negative: slopes of -0.08 and -0.06.

The norm is `jaxbn.normalize` with a mean of 0 and the second moment, from `jaxbn.batch_moments`, as its variance.

Source: Daneshmand, Joudaki and Bach, "Batch normalization orthogonalizes representations in deep random networks",
NeurIPS 2021, figure 2b, whose slope is -0.46. Expected: between -0.53 and -0.47 for the mean of 20 seeds, between -0.56
and -0.45 for each of them. Writes `summary.md`, `summary.json` and `orthogonality.png`.
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
from jaxbn import BatchNormParams, batch_moments, batch_norm, init_state, normalize

STUDY = study.Study(
    "orthogonality",
    "The gap of a batch from orthogonality in a deep random linear net with norms falls as width to the power of -1/2",
    "Daneshmand et al. 2021, figure 2b",
    0.7,
)
BATCH = 4
WIDTHS = (16, 32, 64, 128, 256, 512)
# The mean is over the layers from SETTLED on, when the gap no longer falls.
LAYERS, SETTLED = 200, 50
RMS, CENTRED, RELU = "without centring", "batch norm", "without centring, ReLU"


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 20
    out: Path = Path("results/studies/orthogonality")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Measure and report."""
    cfg.check()
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in (RMS, CENTRED, RELU)}
    with progress(console, STUDY.name, sum(WIDTHS)) as on_progress:
        for width in WIDTHS:
            for kind, of_layers in fetch(gaps(np.asarray(cfg.all_seeds()), width, LAYERS)).items():
                found[kind].append(of_layers[:, SETTLED:].mean(1))
            on_progress(sum(WIDTHS[: WIDTHS.index(width) + 1]))
    settled = {kind: np.stack(of_kind) for kind, of_kind in found.items()}
    slopes = {kind: slope(of_kind) for kind, of_kind in settled.items()}
    contrast = Table(
        "Slope of the gap against the width, in log-log",
        ["norm", "slope"],
        [[kind, mean_and_spread(of_kind.tolist(), 3)] for kind, of_kind in slopes.items()],
    )
    measured = {"widths": WIDTHS, "gaps": settled, "slopes": slopes}
    study.report(STUDY, cfg, judge(settled[RMS]), draw(settled), console, measured=measured, tables=[contrast])


@partial(jax.jit, static_argnames=("width", "layers"))
@partial(jax.vmap, in_axes=(0, None, None))
def gaps(seed: int, width: int, layers: int) -> dict[str, jax.Array]:
    """`[seeds, layers]` for each norm: the orthogonality gaps of the same net, in every layer."""
    params, state = BatchNormParams(None, None), init_state(width)
    of_input, of_layers = jax.random.split(jax.random.key(seed))

    def rms(z: jax.Array) -> jax.Array:
        of_z = batch_moments(z)
        return normalize(params, z, jnp.zeros(width), of_z.m2 / of_z.count + of_z.mean**2, epsilon=0)

    norms = {
        RMS: rms,
        CENTRED: lambda z: batch_norm(params, state, z, train=True, epsilon=0)[0],
        RELU: lambda z: jax.nn.relu(rms(z)),
    }

    def layer(h: dict[str, jax.Array], key: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        kernel = jax.random.normal(key, (width, width)) / jnp.sqrt(width)
        h = {kind: norm(h[kind] @ kernel) for kind, norm in norms.items()}
        return h, {kind: gap(of_kind) for kind, of_kind in h.items()}

    x = jax.random.normal(of_input, (BATCH, width))
    return jax.lax.scan(layer, dict.fromkeys(norms, x), jax.random.split(of_layers, layers))[1]


def gap(h: jax.Array) -> jax.Array:
    """How far the Gram matrix of the samples is from a multiple of the identity."""
    gram = h @ h.T
    return jnp.linalg.norm(gram / jnp.trace(gram) - jnp.eye(len(h)) / len(h))


def slope(settled: np.ndarray) -> np.ndarray:
    """Of straight lines through the logarithms of gaps `[widths, ...]`."""
    return np.polyfit(np.log(WIDTHS), np.log(settled), 1)[0]


def judge(settled: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured, `[widths, seeds]`."""
    return [
        study.between("slope of the seeds' mean gap", slope(settled.mean(1)), -0.53, -0.47, digits=3),
        study.between("slope of the gap", slope(settled), -0.56, -0.45, every=True, digits=3),
    ]


def draw(settled: dict[str, np.ndarray]) -> Any:
    """The gap against the width, with lines of the predicted slope."""
    figure, (ax,) = plotting.new_figure(1)
    for (kind, of_kind), colour in zip(settled.items(), plotting.COLOURS, strict=False):
        label = f"{kind} ({slope(of_kind.mean(1)):.2f})"
        plotting.band(ax, WIDTHS, [*of_kind], label=label, colour=colour)
    widths = np.asarray(WIDTHS)
    # Through the middle of what was measured: the theory is about the slope.
    ax.plot(widths, np.exp(np.log(settled[RMS].mean(1) * widths**0.5).mean()) / widths**0.5, "k--", label="slope -1/2")
    ax.axhline(1 / np.sqrt(BATCH * (BATCH - 1)), color="black", linestyle=":", label="least of centred samples")
    ax.set(title=f"The wider a random net, the more orthogonal {BATCH} samples", xscale="log", yscale="log")
    ax.set(xlabel="width, features", ylabel=f"gap, mean of layers {SETTLED + 1} to {LAYERS}")
    ax.set_xticks(WIDTHS, map(str, WIDTHS), minor=False)
    ax.minorticks_off()
    plotting.plain_numbers(ax.yaxis)
    plotting.legend_below(figure, ax, title="mean and range of seeds (slope)")
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
