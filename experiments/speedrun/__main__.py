"""99 % on MNIST in the least time on 2 cores.

Takes half a minute on 2 cores; docs/speed.md has the results. For example:
    python -m experiments.speedrun --net tutorial --seeds 3

The fast net, 32,730 parameters, sees all images once, moved by up to a pixel, then eight times the 15 % of the largest
loss. The tutorial's own net of 10,326 parameters sees all images five times.

Rules: every choice was made on the first 5,000 training images, with training on the others (`--validate`), and never
on a test image; the nets that count train on all 60,000. Seeds are not selected: 0 to 9, each a run of its own, all of
them printed. Nothing compiled is kept from run to run, so that every run pays for its compilation.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from rich.console import Console

from experiments.hardest.compilation import compile_all
from experiments.hardest.net import Net
from experiments.hardest.training import Recipe, train_once
from experiments.harness import config, program
from experiments.harness.data import Mnist, load_kept
from experiments.harness.placement import place
from experiments.harness.progress import progress
from experiments.harness.stopwatch import Stopwatch
from experiments.speedrun import nets
from experiments.speedrun.report import Clock, SeedRun, report

TRAINING, TEST, VALIDATION = 60_000, 10_000, 5_000
RECIPES = {
    "fast": Recipe(passes=9, hardest=0.15),
    "tutorial": Recipe(passes=5, hardest=1.0, smoothing=0.0),
}


@dataclasses.dataclass(frozen=True)
class Config(config.MnistSettings):
    """The command line."""

    net: Literal["fast", "tutorial"] = "fast"
    """The net made for speed, or the tutorial's of 10,326 parameters."""
    seeds: int = 10
    """How many seeds to train, one after the other, every one from its own initial values."""
    validate: bool = False
    """Train without the first 5,000 images and score those, instead of the test images, as the recipes were chosen."""
    out: Path = Path("results/speedrun")
    """The folder for summary.json and summary.md."""


def main(args: list[str] | None = None) -> int:
    """Run the experiment, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Check, load the data while the programs are compiled, train and report."""
    clock = Clock()
    cfg.check()
    recipe, net = RECIPES[cfg.net], make_net(cfg.net)
    shapes = (TRAINING - VALIDATION, VALIDATION) if cfg.validate else (TRAINING, TEST)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(clock.timed("data", load_kept), cfg.data_dir, console.print)
        pictures = [jax.ShapeDtypeStruct((n, 28, 28), jnp.uint8) for n in shapes]
        programs = clock.timed("compile", compile_all)(net, recipe, *pictures)
        images, labels, scored, targets = place(split(loading.result(), validate=cfg.validate))
    clock.ready()
    runs = []
    with progress(console, "seeds", cfg.seeds, still=True) as on_progress:
        for seed in cfg.all_seeds():
            stopwatch = Stopwatch()
            trained = jax.block_until_ready(train_once(programs, recipe, seed, images, labels))
            training = stopwatch.seconds()
            hits = int(programs.count_hits(trained.params, trained.state, scored, targets))
            runs.append(SeedRun(seed, hits / len(scored), training, stopwatch.seconds() - training))
            console.print(runs[-1].line(clock.before), soft_wrap=True)
            on_progress(len(runs))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained.params))
    settings = {"net": cfg.net, "parameters": parameters, "validate": cfg.validate, **dataclasses.asdict(recipe)}
    settings["images per run"] = recipe.batch_size * sum(recipe.steps(len(images)))
    report(cfg.out, settings, clock, runs, console)


def make_net(name: str) -> Net:
    """The net of that name."""
    return nets.tutorial() if name == "tutorial" else nets.strided((16, 64), crop=20)


def split(mnist: Mnist, *, validate: bool) -> tuple[Any, ...]:
    """Images and labels to train on, then those to score; when validating, the test images are in neither."""
    images, labels = mnist.train_images, mnist.train_labels
    if validate:
        return images[VALIDATION:], labels[VALIDATION:], images[:VALIDATION], labels[:VALIDATION]
    return images, labels, mnist.test_images, mnist.test_labels


if __name__ == "__main__":
    # Every run compiles for itself, or its time would be that of another.
    jax.config.update("jax_enable_compilation_cache", False)  # noqa: FBT003
    program.leave(main())
