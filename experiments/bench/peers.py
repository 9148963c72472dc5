"""Every framework's batch norm in training mode, as one function of channels-last data."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Forward = Callable[[jax.Array], jax.Array]
# `(x, cotangent) -> (y, gradient)`, NumPy arrays in and out.
Layer = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def layers(features: int, epsilon: float = 1e-5) -> dict[str, Layer]:
    """The layers that are installed, by name; ours first.

    Args:
        features: size of the last axis.
        epsilon: the same for all.

    Returns:
        For every name a function `(x, cotangent) -> (y, gradient with respect to x)`.
    """
    makers: dict[str, Callable[[int, float], Layer]] = {
        "jaxbn": _jaxbn,
        "linen": _linen,
        "linen, stable": _linen_stable,
        "nnx": _nnx,
        "Haiku": _haiku,
        "Equinox": _equinox,
        "Keras": _keras,
        "PyTorch": _torch,
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make(features, epsilon)
        except ImportError:
            continue
    return found


def _of_jax(forward: Forward) -> Layer:
    @jax.jit
    def both(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pull = jax.vjp(forward, x)
        return y, pull(cotangent.astype(y.dtype))[0]

    def layer(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, gradient = both(x, cotangent)
        return np.asarray(y), np.asarray(gradient)

    return layer


def _jaxbn(features: int, epsilon: float) -> Layer:
    import jaxbn

    params, state = jaxbn.init_batch_norm(features)
    return _of_jax(lambda x: jaxbn.batch_norm(params, state, x, train=True, epsilon=epsilon)[0])


def _linen(features: int, epsilon: float, **options: Any) -> Layer:
    import flax.linen as nn

    layer = nn.BatchNorm(use_running_average=False, epsilon=epsilon, **options)
    variables = layer.init(jax.random.key(0), np.zeros((2, features), np.float32))
    return _of_jax(lambda x: layer.apply(variables, x, mutable=["batch_stats"])[0])


def _linen_stable(features: int, epsilon: float) -> Layer:
    return _linen(features, epsilon, use_fast_variance=False)


def _nnx(features: int, epsilon: float) -> Layer:
    from flax import nnx

    graph, state = nnx.split(nnx.BatchNorm(features, use_running_average=False, epsilon=epsilon, rngs=nnx.Rngs(0)))
    return _of_jax(lambda x: nnx.merge(graph, state, copy=True)(x))


def _haiku(_features: int, epsilon: float) -> Layer:
    import haiku as hk

    def layer(x: jax.Array) -> jax.Array:
        norm = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.99, eps=epsilon)
        return norm(x, is_training=True)

    transformed = hk.transform_with_state(layer)
    # Parameters and state have the dtype of the data they were made with.
    return _of_jax(lambda x: transformed.apply(*transformed.init(jax.random.key(0), x), jax.random.key(0), x)[0])


def _equinox(features: int, epsilon: float) -> Layer:
    import equinox as eqx

    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(features, axis_name="batch", eps=epsilon, mode="batch")

    def forward(x: jax.Array) -> jax.Array:
        apply = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return jnp.moveaxis(apply(jnp.moveaxis(x, -1, 1), state)[0], 1, -1)

    return _of_jax(forward)


def _keras(features: int, epsilon: float) -> Layer:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend here.")
    norm = keras.layers.BatchNormalization(epsilon=epsilon)
    norm.build((None, None, None, features))
    trainable, rest = norm.trainable_variables, norm.non_trainable_variables
    values = [variable.value for variable in trainable], [variable.value for variable in rest]
    return _of_jax(lambda x: norm.stateless_call(*values, x, training=True)[0])


def _torch(features: int, epsilon: float) -> Layer:
    import torch

    def layer(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # NumPy has no bfloat16 of PyTorch's; through float32 the values stay as they are.
        dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[str(x.dtype)]
        data = torch.from_numpy(np.moveaxis(x.astype(np.float32), -1, 1).copy()).to(dtype).requires_grad_()
        given = torch.from_numpy(np.moveaxis(cotangent.astype(np.float32), -1, 1).copy()).to(dtype)
        norm = torch.nn.BatchNorm2d(features, eps=epsilon)
        y = norm(data)
        y.backward(given)
        parts = (y.detach(), data.grad)
        return tuple(np.moveaxis(part.float().numpy(), 1, -1) for part in parts)

    return layer
