"""One training step of whole nets, to be compiled: Flax's ResNets, and the four nets of `experiments.mnist`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.bench.resnets import LINEN, resnet
from experiments.harness import training
from experiments.tutorial import classifier, nets, runs

# The name of a row, the step and its arguments.
Row = tuple[str, Callable[..., Any], Sequence[Any]]


def resnets(depth: int, sources: Path) -> Iterator[Row]:
    """With every norm of linen: batch 64, 224x224, bfloat16."""
    images, labels = jax.ShapeDtypeStruct((64, 224, 224, 3), jnp.bfloat16), jax.ShapeDtypeStruct((64,), jnp.int32)
    for name, norm in LINEN.items():
        step, start = resnet(sources, depth, norm, images)
        yield name, step, (*jax.eval_shape(start, jax.random.key(0)), images, labels)


def mnist_nets() -> Iterator[Row]:
    """One seed and ten in one program; the convolutional nets in either form."""
    forms = {"channels last": nets.CHANNELS_LAST, "cells": nets.CELLS}
    for name, run in runs.RUNS.items():
        rows: dict[str, Any]
        if isinstance(run.model, nets.ConvNet):
            rows = {f"{name}, {form}": run.model.clone(form=forms[form]) for form in forms}
        else:
            rows = {name: run.model}
        for row, model in rows.items():
            for seeds in (1, 10):
                yield f"{row}, {seeds} {'seed' if seeds == 1 else 'seeds'}", *mnist_step(model, seeds)


def mnist_step(model: Any, seeds: int) -> tuple[Callable[..., Any], Sequence[Any]]:
    """One step of so many seeds in one program, and its arguments."""
    problem = classifier.classification(model, optax.sgd(runs.LEARNING_RATE))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), seeds))
    state = jax.eval_shape(jax.vmap(training.make_start(problem)), keys)
    examples = runs.VALIDATION + runs.TRAINING + runs.TEST
    images: Any = jax.ShapeDtypeStruct((examples, 28, 28), jnp.uint8)
    labels: Any = jax.ShapeDtypeStruct((examples,), jnp.int32)
    indices = jax.ShapeDtypeStruct((seeds, runs.BATCH_SIZE), jnp.int32)
    data = classifier.Examples(images, labels)
    return jax.vmap(training.make_step(problem), in_axes=(None, 0, 0)), (data, state, indices)
