"""The tutorial's data preprocessing.

Takes 3 minutes on 2 cores; docs/preprocessing.md has the results. For example:
    python -m experiments.preprocessing --seeds 1 --steps 1000

Draws what centring, standardising, scaling to -1..1, decorrelating and whitening do to a cloud of points and to MNIST's
digits, and trains the tutorial's dense net, with and without batch norm, on the digits transformed by each. All
transforms are fitted to the 55,000 training images alone, pixel by pixel.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.harness import compilation, config, jobs, program, results
from experiments.harness.data import load_kept
from experiments.harness.placement import fetch, place
from experiments.preprocessing.plot import draw_clouds, draw_digits, draw_spectrum
from experiments.preprocessing.report import report
from experiments.tutorial import classifier, lessons, runs
from jaxbn.preprocess import fit_center, fit_min_max, fit_pca, fit_standardize, fit_whiten, transform

# Whitening needs it: the variance of some pixels is that of a single image.
EPSILON = 1e-2
FITS: dict[str, Callable[..., Any]] = {
    "centred": fit_center,
    "standardised": fit_standardize,
    "scaled to ±1": fit_min_max,
    "decorrelated": fit_pca,
    "PCA-whitened": lambda x, **kwargs: fit_whiten(x, epsilon=EPSILON, **kwargs),
    "ZCA-whitened": lambda x, **kwargs: fit_whiten(x, kind="zca", epsilon=EPSILON, **kwargs),
}
INPUTS = ("original", *FITS)
MODELS = ("mlp", "mlp-bn")


@dataclasses.dataclass(frozen=True)
class Config(config.ResumableSettings):
    """The command line."""

    steps: int = 5_000
    """Training steps of every run."""
    seeds: int = 5
    """How many seeds to train, together; mean and standard deviation are reported."""
    out: Path = Path("results/preprocessing")

    def settings_of_runs(self) -> dict[str, dict[str, Any]]:
        """For each model and input all that its results depend on."""
        return {name_of(*run): settings_of(*run, self) for run in itertools.product(MODELS, INPUTS)}


def main(args: list[str] | None = None) -> int:
    """Run the experiment, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data, draw, train and report."""
    check(cfg)
    images, labels = runs.all_examples(load_kept(cfg.data_dir, report=console.print))
    pixels = place(images.reshape(len(images), -1)).astype(jnp.float32) / 255
    training = pixels[runs.VALIDATION : runs.VALIDATION + runs.TRAINING]
    transforms = {shown: fit(training) for shown, fit in FITS.items()}
    draw_all(cfg.out, transforms, pixels[: runs.VALIDATION], labels[: runs.VALIDATION], console)

    def train(shown: str, model: str, own: Console) -> float:
        inputs = transform(transforms[shown], pixels) if shown in transforms else pixels
        data = classifier.on_device(inputs.reshape(images.shape), labels)
        name, settings = name_of(model, shown), settings_of(model, shown, cfg)
        return lessons.train(cfg.out / name, runs.RUNS[model].model, settings, data, own, resume=cfg.resume)

    seconds: dict[str, float] = {}
    with results.reported(seconds, lambda: report(cfg.out, MODELS, INPUTS, name_of, seconds, console)):
        trainings: dict[str, Callable[[Console], float]] = {
            name_of(m, shown): functools.partial(train, shown, m) for shown in INPUTS for m in MODELS
        }
        # Two at once would be in each other's way: all seeds of one fill the cores.
        seconds.update(jobs.run_jobs(trainings, console, one_by_one=True))


def check(cfg: Config) -> None:
    """Refuse what can't be run, before any work."""
    config.require_at_least("--steps", cfg.steps, 1)
    cfg.check()


def name_of(model: str, shown: str) -> str:
    """The name of a run, and of its folder."""
    return f"{model}-{shown}".replace(" ", "-").replace("±", "")


def settings_of(model: str, shown: str, cfg: Config) -> dict[str, Any]:
    """All that the results of a run depend on."""
    return {
        "model": model,
        "input": shown,
        "epsilon": EPSILON,
        **runs.settings_of_model(runs.RUNS[model].model),
        "steps": cfg.steps,
        "seeds": cfg.all_seeds(),
    }


def draw_all(out: Path, transforms: dict[str, Any], pixels: jax.Array, labels: np.ndarray, console: Console) -> None:
    """The pictures that need no training, with the first image of every class."""
    cloud = np.random.default_rng(0).standard_normal((600, 2)) @ [[1.6, 1.1], [0.1, 0.5]] + [2.5, 1.5]
    cloud = cloud.astype(np.float32)
    # Two dimensions that both vary need no epsilon.
    fits = FITS | {"PCA-whitened": fit_whiten, "ZCA-whitened": lambda x: fit_whiten(x, kind="zca")}
    clouds = {"original": cloud} | {shown: fetch(transform(fit(cloud), cloud)) for shown, fit in fits.items()}
    draw_clouds(out / "clouds.png", clouds)
    first = pixels[np.unique(labels, return_index=True)[1]]
    digits = {"original": fetch(first)} | {shown: fetch(transform(t, first)) for shown, t in transforms.items()}
    draw_digits(out / "digits.png", digits)
    draw_spectrum(out / "spectrum.png", fetch(transforms["decorrelated"]))
    console.print(f"Drawn: {', '.join(str(out / name) for name in ('clouds.png', 'digits.png', 'spectrum.png'))}")


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
