"""Training for speed: after a pass over all images, passes over the hardest ones.

By then most images have nothing left to teach: their loss is nearly 0, and so is their gradient. Every later pass takes
those of the largest loss when last seen, and costs a fraction of the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.hardest.net import Net, Pytree
from experiments.harness.placement import fetch

# Forward passes go in pieces that stay in the cache.
CHUNK = 500
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a net is trained: Nesterov's momentum, whose rate rises from 0 to its peak and falls to 0, both linearly.

    Attributes:
        passes: how often training images are gone through, the first time all of them.
        hardest: the fraction of them that every later pass takes.
        batch_size: images per step; the rest of a pass is dropped.
        peak: the largest learning rate.
        rise: the fraction of the steps until the peak.
        momentum: the weight of the earlier gradients.
        smoothing: the part of every target that is spread over all classes.
        shift: the most pixels by which a batch is moved up or down, and left or right.
        recalibrate: images whose statistics replace the running ones in the end, since those are of hard images.
    """

    passes: int
    hardest: float
    batch_size: int = 128
    peak: float = 0.2
    rise: float = 0.2
    momentum: float = 0.9
    smoothing: float = 0.1
    shift: int = 1
    recalibrate: int = 5_000

    def steps(self, images: int) -> list[int]:
        """The steps of every pass over so many images."""
        later = int(images * self.hardest) // self.batch_size
        return [images // self.batch_size] + [later] * (self.passes - 1)


class Carry(NamedTuple):
    """What a step changes: parameters, running statistics, momentum, and the loss of every image when last seen."""

    params: Pytree
    state: Pytree
    velocity: Pytree
    losses: jax.Array


class Programs(NamedTuple):
    """The functions below without their first arguments, compiled."""

    init: Callable[..., Carry]
    train: Callable[..., Carry]
    recalibrate: Callable[..., Pytree]
    count_hits: Callable[..., jax.Array]


def init(net: Net, images: int, key: jax.Array) -> Carry:
    """Before the first step."""
    params, state = net.init(key)
    return Carry(params, state, jax.tree.map(jnp.zeros_like, params), jnp.zeros(images))


def train(
    net: Net,
    recipe: Recipe,
    total: int,
    carry: Carry,
    order: jax.Array,
    shifts: jax.Array,
    first: jax.Array,
    count: jax.Array,
    images: jax.Array,
    labels: jax.Array,
) -> Carry:
    """One pass.

    Args:
        net: what to train.
        recipe: how.
        total: steps of all passes.
        carry: before.
        order: indices of the images of every step, `[at least count, batch]`.
        shifts: where the window begins that a batch is seen through, `[at least count, 2]`.
        first: the steps of the passes before.
        count: the steps of this one.
        images: uint8 `[n, height, width]`.
        labels: uint8 `[n]`.
    """

    def loss(params: Pytree, state: Pytree, x: jax.Array, targets: jax.Array) -> tuple[jax.Array, Any]:
        logits, state = net.apply(params, state, x, train=True)
        certain = 1 - recipe.smoothing
        smoothed = certain * jax.nn.one_hot(targets, CLASSES) + recipe.smoothing / CLASSES
        losses = -(jax.nn.log_softmax(logits) * smoothed).sum(-1)
        return losses.mean(), (state, losses)

    def step(i: jax.Array, carry: Carry) -> Carry:
        params, state, velocity, losses = carry
        x = shifted(scaled(images[order[i]]), shifts[i], recipe.shift)
        gradient, (state, seen) = jax.grad(loss, has_aux=True)(params, state, x, labels[order[i]])
        done = (first + i + 1).astype(jnp.float32) / total
        rate = recipe.peak * jnp.minimum(done / recipe.rise, (1 - done) / (1 - recipe.rise))
        velocity = jax.tree.map(lambda v, g: recipe.momentum * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v, g: p - rate * (recipe.momentum * v + g), params, velocity, gradient)
        return Carry(params, state, velocity, losses.at[order[i]].set(seen))

    return lax.fori_loop(0, count, step, carry)


def recalibrate(net: Net, params: Pytree, state: Pytree, images: jax.Array) -> Pytree:
    """The statistics of so many images, instead of those gathered in training."""

    def add(state: Pytree, chunk: jax.Array) -> tuple[Pytree, None]:
        return net.apply(params, state, scaled(chunk), train=True, averaging="cumulative")[1], None

    # With a count of 0 the average forgets what it held.
    return lax.scan(add, jax.tree.map(jnp.zeros_like, state), chunks(images))[0]


def count_hits(net: Net, params: Pytree, state: Pytree, images: jax.Array, labels: jax.Array) -> jax.Array:
    """How many images are told right, in evaluation mode."""

    def predict(chunk: jax.Array) -> jax.Array:
        return net.apply(params, state, scaled(chunk), train=False)[0].argmax(-1).astype(jnp.uint8)

    return (lax.map(predict, chunks(images)).reshape(-1) == labels).sum()


def scaled(images: jax.Array) -> jax.Array:
    """`[batch, height, width]` -> `[height, width, batch]`, bytes becoming numbers in [0, 1]."""
    # Turned while they are bytes, a quarter of the work.
    return lax.optimization_barrier(jnp.moveaxis(images, 0, -1)).astype(jnp.float32) / 255


def shifted(x: jax.Array, start: Any, most: int) -> jax.Array:
    """All images of a batch moved alike, by `most - start` pixels; zeros come in."""
    padded = jnp.pad(x, ((most, most), (most, most), (0, 0)))
    return lax.dynamic_slice(padded, (start[0], start[1], 0), x.shape)


def chunks(images: jax.Array) -> jax.Array:
    """`[n, ...]` -> `[pieces, size, ...]`."""
    size = CHUNK if len(images) % CHUNK == 0 else len(images)
    return images.reshape(-1, size, *images.shape[1:])


def train_once(programs: Programs, recipe: Recipe, seed: int, images: jax.Array, labels: jax.Array) -> Carry:
    """Train one net from its seed, and recalibrate it."""
    passes, random = recipe.steps(len(images)), np.random.default_rng(seed)
    carry = programs.init(jax.random.key(seed))
    first = 0
    for count in passes:
        taken = count * recipe.batch_size
        chosen = np.argpartition(fetch(carry.losses), -taken)[-taken:] if first else len(images)
        order = np.zeros((max(passes), recipe.batch_size), np.int32)
        order[:count] = random.permutation(chosen)[:taken].reshape(count, -1)
        shifts = random.integers(0, 2 * recipe.shift + 1, (max(passes), 2), np.int32)
        carry = programs.train(carry, order, shifts, np.int32(first), np.int32(count), images, labels)
        first += count
    some = random.permutation(len(images))[: recipe.recalibrate]
    return carry._replace(state=programs.recalibrate(carry.params, carry.state, images[np.sort(some)]))
