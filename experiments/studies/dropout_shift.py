"""Why do dropout and batch norm disagree?

Takes 10 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.dropout_shift --seeds 2 --out results/try

Dropout that keeps a part p of its inputs x, and divides them by p, leaves the mean of what a linear layer makes of
them, but not its variance. A batch norm after that layer learns the variance of training, and in evaluation, without
dropout, meets a smaller one. For each feature, with the layer's kernel W,

    Var(training) / Var(evaluation) = 1 + (1 - p) / p * (E[x**2] @ W**2) / Var(x @ W),

since every x contributes `x**2 (1 - p) / p` to the variance, independently of the others. The activations here are
MNIST's training images after a random dense layer, batch norm and ReLU; the ratio is 1 over the variance that
`jaxbn.batch_norm` gives in evaluation, where 1 is meant, with the running statistics of training.

Sources: Li, Chen, Hu and Yang, "Understanding the disharmony between dropout and batch normalization by variance
shift", CVPR 2019, arXiv 1801.05134 (the effect); the formula is derived. Expected: within 2 % of it, which is 2.48 for
p = 0.5 and 1.37 for p = 0.8. Writes `summary.md`, `summary.json` and `dropout_shift.png`.
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
from experiments.harness.data import load_kept
from experiments.harness.placement import place
from experiments.harness.progress import progress
from experiments.harness.tables import Table, mean_and_spread
from jaxbn import batch_moments, batch_norm, init_batch_norm

STUDY = study.Study(
    "dropout_shift",
    "After dropout and a linear layer, batch norm meets more variance in training than in evaluation, by a known ratio",
    "the effect: Li et al. 2019; the ratio of variances: derived",
    0.2,
)
KEPT = (0.5, 0.8)
FEATURES = 100


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    seeds: int = 5
    out: Path = Path("results/studies/dropout_shift")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Load the data, measure and report."""
    cfg.check()
    images = load_kept(cfg.data_dir, report=console.print).train_images
    pixels = place(images.reshape(len(images), -1).astype(np.float32) / 255)
    found, theory = (np.empty((len(KEPT), cfg.seeds, FEATURES)) for _ in range(2))
    with progress(console, STUDY.name, found[..., 0].size) as on_progress:
        for (i, k), _ in np.ndenumerate(found[..., 0]):
            found[i, k], theory[i, k] = ratios(cfg.all_seeds()[k], pixels, KEPT[i], FEATURES)
            on_progress(i * cfg.seeds + k + 1)
    table = Table(
        "Var(training) / Var(evaluation), mean of the features",
        ["kept", "predicted", "measured"],
        [
            [f"{p:g}", *(mean_and_spread(of[i].mean(-1).tolist(), 3) for of in (theory, found))]
            for i, p in enumerate(KEPT)
        ],
    )
    figure, measured = draw(found, theory), {"kept": KEPT, "ratios": found, "predicted": theory}
    study.report(STUDY, cfg, judge(found / theory), figure, console, measured=measured, tables=[table])


@partial(jax.jit, static_argnames="features")
def ratios(seed: int, pixels: jax.Array, kept: float, features: int) -> tuple[jax.Array, jax.Array]:
    """`[features]` each: Var(training) / Var(evaluation) of the features, measured and predicted."""
    params, state = init_batch_norm(features)
    of_first, of_second, of_dropout = jax.random.split(jax.random.key(seed), 3)
    he = jax.nn.initializers.he_normal()
    first = pixels @ he(of_first, (pixels.shape[1], features))
    x = jax.nn.relu(batch_norm(params, state, first, train=True)[0])
    kernel = he(of_second, (features, features))
    dropped = jnp.where(jax.random.bernoulli(of_dropout, kept, x.shape), x / kept, 0) @ kernel
    # Momentum 0: the running statistics are those of all images as one batch.
    _, trained = batch_norm(params, state, dropped, train=True, momentum=0.0)
    evaluated, _ = batch_norm(params, trained, x @ kernel, train=False, epsilon=0)
    return 1 / variance(evaluated), 1 + (1 - kept) / kept * ((x**2).mean(0) @ kernel**2) / variance(x @ kernel)


def variance(values: jax.Array) -> jax.Array:
    """Of each feature."""
    moments = batch_moments(values)
    return moments.m2 / moments.count


def judge(relative: np.ndarray) -> list[study.Verdict]:
    """What was predicted beside what was measured, of measured / predicted, `[kept, seeds, features]`."""
    return [
        study.near(f"Var(training) / Var(evaluation) / predicted, mean of features, {p:g} kept", of_p, 1, percent=2)
        for p, of_p in zip(KEPT, relative.mean(-1), strict=True)
    ]


def draw(found: np.ndarray, theory: np.ndarray) -> Any:
    """Measured against predicted, of every feature."""
    figure, (ax,) = plotting.new_figure(1)
    ends = [min(theory.min(), found.min()), max(theory.max(), found.max())]
    for p, measured, predicted, colour in zip(KEPT, found, theory, plotting.COLOURS, strict=False):
        ax.plot(predicted.ravel(), measured.ravel(), ".", color=colour, label=f"{p:g} kept, features of all seeds")
    ax.plot(ends, ends, "k--", linewidth=1, label="equal")
    ax.set(title="Dropout shifts the variance that batch norm meets, as predicted")
    ax.set(xlabel="predicted: 1 + (1 - p)/p * (E[x²] @ W²) / Var(x @ W)")
    ax.set(ylabel="measured: Var(training) / Var(evaluation)")
    ax.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
