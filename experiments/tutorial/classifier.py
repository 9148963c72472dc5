"""A Flax classifier of images, as functions for the training loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments.harness.placement import place
from experiments.harness.training import Problem, TrainState


class Examples(NamedTuple):
    """A data set on the device: images `[n, height, width]` as bytes or numbers, labels `[n]` as int32."""

    images: jax.Array
    labels: jax.Array


def on_device(images: np.ndarray | jax.Array, labels: np.ndarray, mesh: Mesh | None = None) -> Examples:
    """Bytes become numbers in [0, 1] batch by batch, inside the compiled step; numbers stay as they are."""
    return Examples(*place((images, np.asarray(labels, np.int32)), mesh))


def classification(model: nn.Module, optimizer: optax.GradientTransformation) -> Problem:
    """Mean softmax cross-entropy of `model(images, train)`."""

    def init(key: jax.Array) -> tuple[Any, Any]:
        extras = model.init(key, jnp.zeros((1, 28, 28)), train=False)
        extras = jax.tree.map(_in_precision, extras)
        return extras.pop("params"), extras

    def loss(params: Any, extras: Any, data: Examples, indices: jax.Array) -> tuple[jax.Array, Any]:
        images, labels = gather(data, indices)
        logits, extras = model.apply({"params": params, **extras}, images, train=True, mutable=list(extras))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), extras

    return Problem(init, loss, optimizer)


def scorer(model: nn.Module, *, batch_statistics: bool = False) -> Any:
    """`(state, data, indices [n]) -> {"loss": [n], "acc": [n]}` in evaluation mode, or with the statistics of the n."""

    def score(state: TrainState, data: Examples, indices: jax.Array) -> dict[str, jax.Array]:
        images, labels = gather(data, indices)
        variables = {"params": state.params, **state.extras}
        logits, _ = model.apply(variables, images, train=batch_statistics, mutable=list(state.extras))
        return {
            "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            "acc": (logits.argmax(-1) == labels).astype(jnp.float32),
        }

    return score


def gather(data: Examples, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images as numbers, and labels."""
    images = data.images[indices]
    if images.dtype == jnp.uint8:
        images = images.astype(float) / 255
    return images, data.labels[indices]


def _in_precision(leaf: jax.Array) -> jax.Array:
    """In the precision of the program; drawn in float32, so that the numbers are the same in both."""
    return leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
