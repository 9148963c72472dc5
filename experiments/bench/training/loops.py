"""The four runs of `experiments.mnist` as loops in JAX: ours, a plain one in Flax, and Keras on JAX."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.linen import initializers

from experiments.harness import training
from experiments.tutorial import classifier, runs

# `steps -> None`: trains on that many batches more, and returns when they are done.
Trainer = Callable[[int], None]


class PlainNet(nn.Module):
    """The tutorial's net as a user of Flax writes it, channels last."""

    dense: bool
    norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits `[batch, 10]` of images `[batch, 28, 28, 1]`."""
        if self.dense:
            dense = functools.partial(
                nn.Dense, kernel_init=initializers.truncated_normal(0.05), bias_init=initializers.constant(0.1)
            )
            normal = initializers.normal(1.0)
            x = dense(100)(x.reshape(len(x), -1))
            if self.norm:
                x = nn.BatchNorm(not train, momentum=0.1, scale_init=normal, bias_init=normal)(x)
            return dense(10)(nn.relu(x))
        glorot = initializers.glorot_uniform()
        for features, width in ((6, 3), (16, 5)):
            x = nn.Conv(features, (width, width), use_bias=not self.norm, kernel_init=glorot)(x)
            if self.norm:
                x = nn.BatchNorm(not train, momentum=0.999, epsilon=1e-3, use_scale=False)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        return nn.Dense(10, kernel_init=glorot)(x.reshape(len(x), -1))


def batches(images: np.ndarray, steps: int) -> np.ndarray:
    """The indices of `steps` random batches."""
    return np.random.default_rng(steps).integers(0, len(images), (steps, runs.BATCH_SIZE), np.int32)


def ours(name: str, images: np.ndarray, labels: np.ndarray, seeds: int = 1) -> Trainer:
    """The loop of the experiments: the data on the device as bytes, many steps per dispatch, all seeds at once."""
    data = classifier.on_device(images, labels)
    problem = classifier.classification(runs.RUNS[name].model, optax.sgd(runs.LEARNING_RATE))
    state = training.init_state(problem, list(range(seeds)))
    run = training.compile_steps(problem)

    def train(steps: int) -> None:
        nonlocal state
        for first in range(0, steps, training.STEPS_PER_DISPATCH):
            count = min(steps - first, training.STEPS_PER_DISPATCH)
            indices = np.zeros((seeds, training.STEPS_PER_DISPATCH, runs.BATCH_SIZE), np.int32)
            indices[:, :count] = batches(images, count)
            state = run(data, count, state, indices)
        jax.block_until_ready(state)

    return train


def flax(name: str, images: np.ndarray, labels: np.ndarray) -> Trainer:
    """A jitted step per batch, fed from NumPy."""
    net, optimizer = PlainNet(name.startswith("mlp"), name.endswith("-bn")), optax.sgd(runs.LEARNING_RATE)
    stats = net.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)
    params = stats.pop("params")
    state = params, stats, optimizer.init(params)
    floats = images[..., None].astype(np.float32) / np.float32(255)

    @jax.jit
    def step(params: Any, stats: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            logits, new_stats = net.apply({"params": params, **stats}, x, train=True, mutable=list(stats))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new_stats

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), stats, opt_state), value

    def train(steps: int) -> None:
        nonlocal state
        for chosen in batches(images, steps):
            state, _ = step(*state, floats[chosen], labels[chosen])
        jax.block_until_ready(state)

    return train


def keras(name: str, images: np.ndarray, labels: np.ndarray) -> Trainer:
    """`fit` with the data in memory."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend here.")
    norm = name.endswith("-bn")
    start = {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.05),
        "bias_initializer": keras.initializers.Constant(0.1),
    }
    stack: list[Any] = [keras.Input((28, 28, 1))]
    if name.startswith("mlp"):
        normal = keras.initializers.RandomNormal(stddev=1.0)
        of_norm = layers.BatchNormalization(
            momentum=0.1, epsilon=1e-5, gamma_initializer=normal, beta_initializer=normal
        )
        stack += [layers.Flatten(), layers.Dense(100, **start), *([of_norm] if norm else []), layers.ReLU()]
        stack += [layers.Dense(10, **start)]
    else:
        for features, width in ((6, 3), (16, 5)):
            stack.append(layers.Conv2D(features, width, padding="same", use_bias=not norm))
            if norm:
                stack.append(layers.BatchNormalization(momentum=0.999, epsilon=1e-3, scale=False))
            stack += [layers.ReLU(), layers.MaxPooling2D()]
        stack += [layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential(stack)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(runs.LEARNING_RATE), cross_entropy)
    floats = images[..., None].astype(np.float32) / np.float32(255)

    def train(steps: int) -> None:
        chosen = batches(images, steps).ravel()
        model.fit(floats[chosen], labels[chosen], batch_size=runs.BATCH_SIZE, shuffle=False, verbose=0)

    return train
