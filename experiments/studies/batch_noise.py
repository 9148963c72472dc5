"""How noisy are a batch's statistics?

Takes 20 seconds on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.batch_noise --seeds 3 --out results/try

Mean and standard deviation of a batch of M values scatter about those of all values, mu and sigma. For independent
values with excess kurtosis k, to first order in 1/M,

    std(batch mean) / sigma = 1 / sqrt(M),
    std(batch std) / sigma  = sqrt((k + 2) / (4 M)),
    E[batch std] / sigma    = 1 - 1 / (2 M) - (k + 2) / (8 M).

This is the noise that batch norm adds to training. That of the standard deviation depends on the shape of the values:
the heavier their tails, the larger it is. The values here are those of a random dense layer of MNIST's training images,
100 features a seed; the statistics those of 4,000 batches, drawn with replacement, by `jaxbn.batch_moments`. At M = 8
the expansion no longer holds: it is shown, and not judged.

Source: derived, by the delta method. Expected, for M = 16 to 256: the median feature within 2 % of each spread and
within 0.2 % of the mean standard deviation, as means over the seeds; in every seed 95 % of the features within 5 % of
each spread. Writes `summary.md`, `summary.json` and `batch_noise.png`.
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
from experiments.harness.placement import fetch, place
from experiments.harness.progress import progress
from experiments.harness.tables import Table, mean_and_spread
from jaxbn import batch_moments

STUDY = study.Study(
    "batch_noise",
    "Batch means and standard deviations of M values scatter by 1/sqrt(M) and sqrt((k + 2)/(4 M)), for kurtosis k",
    "derived: the delta method",
    0.4,
)
SIZES = (8, 16, 32, 64, 128, 256)
# The expansion in 1/M holds from here on.
LEAST = 16
FEATURES = 100
BATCHES = 4_000
# In units of sigma.
MEAN, STD, LEVEL = "spread of the mean", "spread of the standard deviation", "mean standard deviation"
PERCENT = {MEAN: 2, STD: 2, LEVEL: 0.2}


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The command line."""

    seeds: int = 10
    out: Path = Path("results/studies/batch_noise")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Load the data, measure and report."""
    cfg.check()
    images = load_kept(cfg.data_dir, report=console.print).train_images
    found: dict[str, np.ndarray] = {kind: np.empty((len(SIZES), cfg.seeds, FEATURES)) for kind in (MEAN, STD, LEVEL)}
    theory = {kind: np.empty_like(values) for kind, values in found.items()}
    tails = np.empty((cfg.seeds, FEATURES))
    with progress(console, STUDY.name, cfg.seeds * len(SIZES)) as on_progress:
        for k, seed in enumerate(cfg.all_seeds()):
            values = pre_activations(seed, images, FEATURES)
            tails[k] = kurtosis(values)
            for i, size in enumerate(SIZES):
                for kind, of_kind in measured(seed, values, size, BATCHES).items():
                    found[kind][i, k], theory[kind][i, k] = of_kind, predicted(kind, size, tails[k])
                on_progress(k * len(SIZES) + i + 1)
    ratios = {kind: found[kind] / theory[kind] for kind in found}
    by_size = Table(
        "Measured / predicted",
        ["batch size M", *ratios],
        [
            [str(size), *(mean_and_spread(np.median(of_kind[i], -1).tolist(), 4) for of_kind in ratios.values())]
            for i, size in enumerate(SIZES)
        ],
    )
    notes = [
        f"Of the median of {FEATURES} features, in units of sigma; {BATCHES:,} batches of each size M.",
        f"Excess kurtosis of the features: {tails.min():.2f} to {tails.max():.2f}, median {np.median(tails):.2f}.",
    ]
    more = {"sizes": SIZES, "kurtosis": tails, "ratios": {kind: np.median(r, -1) for kind, r in ratios.items()}}
    figure = draw(found, tails)
    study.report(STUDY, cfg, judge(ratios), figure, console, measured=more, tables=[by_size], notes=notes)


def pre_activations(seed: int, images: np.ndarray, features: int) -> jax.Array:
    """`[images, features]`: of a dense layer with He's initial values."""
    pixels = place(images.reshape(len(images), -1).astype(np.float32) / 255)
    kernel = jax.nn.initializers.he_normal()(jax.random.key(seed), (pixels.shape[1], features))
    return pixels @ kernel


def kurtosis(values: jax.Array) -> np.ndarray:
    """The excess kurtosis of each feature; 0 for Gaussian values."""
    exact = fetch(values).astype(np.float64)
    deviations = exact - exact.mean(0)
    return (deviations**4).mean(0) / (deviations**2).mean(0) ** 2 - 3


@partial(jax.jit, static_argnames=("size", "batches"))
def measured(seed: int, values: jax.Array, size: int, batches: int) -> dict[str, jax.Array]:
    """`[features]` for each kind: of so many batches of that size, drawn with replacement."""

    def of_batch(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = batch_moments(values[jax.random.randint(key, (size,), 0, len(values))])
        return batch.mean, jnp.sqrt(batch.m2 / batch.count)

    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), size), batches)
    means, stds = jax.lax.map(of_batch, keys, batch_size=50)
    whole = batch_moments(values)
    sigma = jnp.sqrt(whole.m2 / whole.count)
    return {MEAN: means.std(0) / sigma, STD: stds.std(0) / sigma, LEVEL: stds.mean(0) / sigma}


def predicted(kind: str, size: Any, tail: Any) -> Any:
    """The same by theory, for an excess kurtosis."""
    if kind == MEAN:
        return 1 / np.sqrt(size)
    if kind == STD:
        return np.sqrt((tail + 2) / (4 * size))
    return 1 - 1 / (2 * size) - (tail + 2) / (8 * size)


def judge(ratios: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured, of measured / predicted, `[sizes, seeds, features]`."""
    judged = [(i, size) for i, size in enumerate(SIZES) if size >= LEAST]
    close = {kind: (np.abs(ratios[kind][judged[0][0] :] - 1) <= 0.05).mean(-1) for kind in (MEAN, STD)}
    return [
        *(
            study.near(f"{kind} / predicted, M = {size}", np.median(of_kind[i], -1), 1, percent=PERCENT[kind])
            for kind, of_kind in ratios.items()
            for i, size in judged
        ),
        *(
            study.at_least(f"{kind}, features within 5 %, every M", of_kind, 0.95, every=True)
            for kind, of_kind in close.items()
        ),
    ]


def draw(found: dict[str, np.ndarray], tails: np.ndarray) -> Any:
    """The spreads by batch size, and that of the standard deviation by kurtosis, with the predictions."""
    figure, (by_size, by_tail) = plotting.new_figure(2)
    sizes, tail = np.geomspace(SIZES[0], SIZES[-1], 100), np.median(tails)
    for kind, colour in zip((MEAN, STD), plotting.COLOURS, strict=False):
        of_seeds = [np.median(of_size, -1) for of_size in found[kind]]
        by_size.plot(sizes, predicted(kind, sizes, tail), "k--", linewidth=1)
        plotting.band(by_size, SIZES, of_seeds, label=kind, colour=colour, linestyle="")
    by_size.plot([], "k--", linewidth=1, label="1/sqrt(M), sqrt((k + 2)/(4 M))")
    by_size.set(
        title="Batch statistics scatter as 1/sqrt(M)",
        xscale="log",
        yscale="log",
        xlabel="batch size M, images of MNIST",
    )
    by_size.set(ylabel="standard deviation / sigma, median feature")
    by_size.set_xticks(SIZES, map(str, SIZES), minor=False)
    by_size.minorticks_off()
    plotting.plain_numbers(by_size.yaxis)
    by_size.legend()
    shown = SIZES[len(SIZES) // 2]
    of_shown, span = found[STD][SIZES.index(shown)], np.linspace(tails.min(), tails.max(), 100)
    by_tail.plot(tails.ravel(), of_shown.ravel(), ".", color=plotting.COLOURS[1], label="features of all seeds")
    by_tail.plot(span, predicted(STD, shown, span), "k--", linewidth=1, label="sqrt((k + 2)/(4 M))")
    by_tail.set(title=f"Heavy tails are noisier, M = {shown}", xlabel="excess kurtosis k of the feature")
    by_tail.set(ylabel="spread of the standard deviation / sigma")
    by_tail.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
