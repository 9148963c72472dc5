"""A data-parallel training step of a small convolutional net, as anyone writes it under plain `jit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

IMAGE, CLASSES, RATE = (16, 16, 3), 10, 0.1


class Net(nn.Module):
    """Two convolutions with a norm each, the mean over the positions, ten classes."""

    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images
        for features, stride in ((16, 1), (32, 2)):
            x = nn.Conv(features, (3, 3), stride, use_bias=False)(x)
            x = nn.relu(self.norm(use_running_average=False)(x))
        return nn.Dense(CLASSES)(jnp.mean(x, (1, 2)))


def step(net: Net, variables: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
    """The variables after a step of SGD, and the loss before it; nothing in it knows of devices."""

    def loss(params: Any) -> tuple[jax.Array, Any]:
        logits, updates = net.apply({**variables, "params": params}, images, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

    (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda p, g: p - RATE * g, variables["params"], gradient)
    return {"params": params, **updates}, value


def start(net: Net) -> Any:
    """The same variables for every norm and in every process."""
    return net.init(jax.random.key(0), jnp.zeros((1, *IMAGE)))


def examples(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first so many examples, whose mean is not 0."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, number, np.int32)
    return 1 + rng.standard_normal((number, *IMAGE), np.float32) + labels[:, None, None, None] / CLASSES, labels
