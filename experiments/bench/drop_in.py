"""Flax's own example models, trained with its batch norms and with ours.

Takes 3 to 5 minutes on 2 cores; docs/migrate.md has the results. For example:
    pip download flax==0.12.8 --no-binary flax --no-deps --no-build-isolation
    tar xzf flax-0.12.8.tar.gz
    python -m experiments.bench.drop_in

It needs Flax's sources and real MNIST. The ResNet-18 of `examples/imagenet` (linen) and the CNN of `examples/mnist`
(nnx), as they are, with SGD. Only the name `BatchNorm` that they find in Flax differs between the runs. Flax computes
the variance in two ways, which are compared with each other as well: in single precision a difference in the last digit
grows from step to step, for the nets have kinks, until nobody's curve is another's. In double precision they agree.
Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import jaxbn.linen
import jaxbn.nnx
from experiments.bench.flax_examples import classes, cross_entropy, require_sources, resnet_classes
from experiments.harness import config, program, results
from experiments.harness.data import load_mnist
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown

LEARNING_RATE, MOMENTUM, STEPS, BATCH = 0.01, 0.9, 100, 64
Batches = Iterator[tuple[Any, Any]]
Losses = Callable[[Batches], list[float]]


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    sources: Path = Path("flax-0.12.8")
    """Flax's sources."""
    data_dir: Path | None = None
    """A folder with MNIST's four files, or a TFDS data directory; without it the data is found or fetched."""
    out: Path = Path("results/drop_in")
    """The folder for the results."""


def resnet(examples: Path, norm: Any, dtype: Any) -> Losses:
    """ResNet-18 of linen."""
    found = resnet_classes(examples / "imagenet/models.py", norm)
    sizes = {"stage_sizes": [2, 2, 2, 2], "block_cls": found["ResNetBlock"], "num_classes": 10, "num_filters": 16}
    net = found["ResNet"](**sizes, dtype=dtype)
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)

    @jax.jit
    def step(variables: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            # The example's norm has the axis name "batch", here of one device.
            logits, updates = jax.vmap(
                lambda x: net.apply({**variables, "params": params}, x, mutable=["batch_stats"]), axis_name="batch"
            )(images[None])
            return cross_entropy(logits[0], labels), jax.tree.map(lambda part: part[0], updates)

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        change, state = optimizer.update(gradient, state)
        return {"params": optax.apply_updates(variables["params"], change), **updates}, state, value

    def losses(batches: Batches) -> list[float]:
        variables = net.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)
        state, values = optimizer.init(variables["params"]), []
        for images, labels in batches:
            variables, state, value = step(variables, state, images, labels)
            values.append(float(value))
        return values

    return losses


def cnn(examples: Path, norm: Any, _: Any) -> Losses:
    """CNN of nnx."""
    nnx = types.SimpleNamespace(**vars(flax.nnx) | {"BatchNorm": norm})
    net = classes(examples / "mnist/train.py", {"nnx": nnx, "partial": functools.partial})["CNN"]

    @flax.nnx.jit
    def step(model: Any, optimizer: Any, rngs: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        def loss(model: Any, rngs: Any) -> jax.Array:
            return cross_entropy(model(images, rngs), labels)

        value, gradient = flax.nnx.value_and_grad(loss)(model, rngs)
        optimizer.update(model, gradient)
        return value

    def losses(batches: Batches) -> list[float]:
        # Of the dtype of the images, since its layers have none of their own.
        model, rngs = net(flax.nnx.Rngs(0)), flax.nnx.Rngs(1)
        optimizer = flax.nnx.Optimizer(model, optax.sgd(LEARNING_RATE, MOMENTUM), wrt=flax.nnx.Param)
        return [float(step(model, optimizer, rngs, images, labels)) for images, labels in batches]

    return losses


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def work(options: Options, console: Console) -> None:
    """Train, and compare the loss curves."""
    require_sources(options.sources)
    config.require_writable("--out", options.out)
    mnist = load_mnist(options.data_dir)
    layers = {
        "ResNet-18, linen": (resnet, jaxbn.linen.BatchNorm, flax.linen.BatchNorm),
        "CNN, nnx": (cnn, jaxbn.nnx.BatchNorm, flax.nnx.BatchNorm),
    }
    rows, chosen = [], [*itertools.product((np.float32, np.float64), layers.items())]
    with progress(console, "models", len(chosen)) as on_progress:
        for dtype, (name, (make, ours, theirs)) in chosen:
            with jax.enable_x64(dtype == np.float64):
                images = jnp.asarray(mnist.train_images[: STEPS * BATCH].reshape(STEPS, BATCH, 28, 28, 1) / dtype(255))
                labels = jnp.asarray(mnist.train_labels[: STEPS * BATCH].reshape(STEPS, BATCH).astype(np.int32))
                curves = [
                    np.array(make(options.sources / "examples", norm, dtype)(zip(images, labels, strict=True)))
                    for norm in (ours, functools.partial(theirs, use_fast_variance=False), theirs)
                ]
            first, last = (f"{curves[0][i]:.4f}" for i in (0, -1))
            apart = (f"{np.abs(curves[a] - curves[b]).max():.1e}" for a, b in itertools.combinations(range(3), 2))
            rows.append([f"{name}, {dtype.__name__}", first, last, *apart])
            on_progress(len(rows))
    heads = ["first", "last", "ours - Flax's stable", "ours - Flax's default", "Flax's stable - default"]
    table = Table(f"Loss of {STEPS} steps, and the largest difference of the curves", ["model", *heads], rows)
    text = markdown([table])
    results.write_summary(options.out, {"measured": table.cells()}, text)
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
