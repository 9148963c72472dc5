"""Nets of few parameters: a convolution, then depthwise-separable ones, each with batch norm, and a mean."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp

from experiments.hardest.net import EPSILON, MOMENTUM, Net, Pytree, contract
from jaxbn import batch_norm, init_batch_norm
from jaxbn.running import Averaging

# Output channels of the convolutions, the last of them the classes.
Features = tuple[int, ...]

KERNEL = 3
TAPS = KERNEL**2


def separable(features: Features) -> Net:
    """`3x3 convolution, norm, relu, max pooling 2x2`, then `3x3 for each channel, 1x1 for all, norm, relu` and so on.

    The first convolution pads with zeros, the others do not: 28x28 pixels become 14x14, 12x12, 10x10 and so on. The
    last one has no relu; the means of its channels are the logits, so that no dense layer is needed. The batch lies in
    the last axis.
    """
    first, *_ = features

    def init(key: jax.Array) -> tuple[Pytree, Pytree]:
        keys = iter(jax.random.split(key, 2 * len(features)))

        def kernel(inputs: int, *shape: int) -> jax.Array:
            return jnp.sqrt(2 / inputs) * jax.random.normal(next(keys), shape)

        norms = [init_batch_norm(n) for n in features]
        params = {
            "first": kernel(TAPS, TAPS, first),
            "depthwise": [kernel(TAPS, TAPS, n) for n in features[:-1]],
            "pointwise": [kernel(m, m, n) for m, n in itertools.pairwise(features)],
            "norms": [norm for norm, _ in norms],
        }
        return params, [state for _, state in norms]

    def apply(
        params: Pytree, state: Pytree, images: jax.Array, *, train: bool, averaging: Averaging = "warmup"
    ) -> tuple[jax.Array, Pytree]:
        norm = functools.partial(
            batch_norm, train=train, axis=0, momentum=MOMENTUM, epsilon=EPSILON, averaging=averaging
        )
        padded = jnp.pad(images[None], ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = contract(params["first"], jnp.concatenate(windows(padded)))
        x, new = norm(params["norms"][0], state[0], x)
        updated = [new]
        x = pooled(jax.nn.relu(x))
        layers = zip(params["depthwise"], params["pointwise"], params["norms"][1:], state[1:], strict=True)
        for depthwise, pointwise, of_norm, old in layers:
            x = sum(tap[:, None, None, None] * window for tap, window in zip(depthwise, windows(x), strict=True))
            x, new = norm(of_norm, old, contract(pointwise, x))
            updated.append(new)
            x = jax.nn.relu(x) if len(updated) < len(features) else x
        return x.mean((1, 2)).T, updated

    return Net(init, apply)


def windows(x: jax.Array) -> list[jax.Array]:
    """What each tap sees, row by row: `[channels, H, W, batch]` -> `[channels, H - 2, W - 2, batch]`."""
    _, height, width, _ = x.shape
    rows, columns = height - KERNEL + 1, width - KERNEL + 1
    return [x[:, i : i + rows, j : j + columns] for i in range(KERNEL) for j in range(KERNEL)]


def pooled(x: jax.Array) -> jax.Array:
    """The largest of every 2x2 values."""
    channels, height, width, batch = x.shape
    x = x.reshape(channels, height // 2, 2, width // 2, 2, batch)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])
