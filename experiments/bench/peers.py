"""Every framework's batch norm as one function of the data, in training and in evaluation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import torch_device

Norm = Callable[..., tuple[jax.Array, Any]]
Layer = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def norms(shape: Sequence[int], epsilon: float = 1e-5, axis: int = -1) -> dict[str, Norm]:
    """The layers of JAX that are installed, by name; ours first.

    Args:
        shape: of the data.
        epsilon: the same for all.
        axis: the feature axis, the last or the one after the first.

    Returns:
        For every name a function `(x, train=) -> (y, what the layer remembers)`, to be compiled.
    """
    makers: dict[str, Callable[[Sequence[int], float, int], Norm]] = {
        "jaxbn": _jaxbn,
        "linen": _linen,
        "linen, stable": _linen_stable,
        "nnx": _nnx,
        "Haiku": _haiku,
        "Equinox": _equinox,
        "Keras": _keras,
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make(shape, epsilon, axis)
        except ImportError:
            continue
    return found


def layers(shape: Sequence[int], epsilon: float = 1e-5) -> dict[str, Layer]:
    """All layers that are installed, PyTorch's included, in training, with the gradient of the data.

    Args:
        shape: of the data, the features last.
        epsilon: the same for all.

    Returns:
        For every name a function `(x, cotangent) -> (y, gradient with respect to x)`.
    """
    found = {name: _of_jax(norm) for name, norm in norms(shape, epsilon).items()}
    with contextlib.suppress(ImportError):
        found["PyTorch"] = _torch(shape[-1], epsilon)
    return found


def with_gradient(norm: Norm) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, Any]]:
    """`(x, cotangent) -> (y, gradient, what the layer remembers)`, to be compiled."""

    def both(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        y, pull, remembered = jax.vjp(lambda x: norm(x, train=True), x, has_aux=True)
        return y, pull(cotangent.astype(y.dtype))[0], remembered

    return both


def _of_jax(norm: Norm) -> Layer:
    both = jax.jit(with_gradient(norm))

    def layer(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, gradient, _ = both(x, cotangent)
        return np.asarray(y), np.asarray(gradient)

    return layer


def _jaxbn(shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    import jaxbn

    params, state = jaxbn.init_batch_norm(shape[axis])
    return lambda x, *, train: jaxbn.batch_norm(params, state, x, train, axis=axis, epsilon=epsilon)


def _linen(shape: Sequence[int], epsilon: float, axis: int, **options: Any) -> Norm:
    import flax.linen as nn

    layer = nn.BatchNorm(epsilon=epsilon, axis=axis, **options)
    variables = layer.init(jax.random.key(0), np.zeros(shape, np.float32), use_running_average=True)
    return lambda x, *, train: layer.apply(variables, x, use_running_average=not train, mutable=["batch_stats"])


def _linen_stable(shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    return _linen(shape, epsilon, axis, use_fast_variance=False)


def _nnx(shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    from flax import nnx

    graph, state = nnx.split(nnx.BatchNorm(shape[axis], axis=axis, epsilon=epsilon, rngs=nnx.Rngs(0)))

    def norm(x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        layer = nnx.merge(graph, state, copy=True)
        y = layer(x, use_running_average=not train)
        return y, nnx.state(layer)

    return norm


def _haiku(_shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    import haiku as hk

    def layer(x: jax.Array, *, train: bool) -> jax.Array:
        data_format = "channels_last" if axis == -1 else "channels_first"
        norm = hk.BatchNorm(
            create_scale=True, create_offset=True, decay_rate=0.99, eps=epsilon, data_format=data_format
        )
        return norm(x, is_training=train)

    transformed = hk.transform_with_state(layer)

    def norm(x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        # Parameters and state have the dtype of the data they were made with; one example is enough for that.
        with jax.ensure_compile_time_eval():
            params, state = transformed.init(jax.random.key(0), jnp.zeros_like(x, shape=(1, *x.shape[1:])), train=True)
        return transformed.apply(params, state, None, x, train=train)

    return norm


def _equinox(shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    import equinox as eqx

    make = eqx.nn.make_with_state(eqx.nn.BatchNorm)
    layer, state = make(shape[axis], axis_name="batch", eps=epsilon, mode="batch")

    def norm(x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        one = eqx.nn.inference_mode(layer, not train)
        apply = jax.vmap(one, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        y, remembered = apply(jnp.moveaxis(x, axis, 1), state)
        return jnp.moveaxis(y, 1, axis), eqx.filter(remembered, eqx.is_array)

    return norm


def _keras(shape: Sequence[int], epsilon: float, axis: int) -> Norm:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend here.")
    layer = keras.layers.BatchNormalization(epsilon=epsilon, axis=axis)
    layer.build(tuple(shape))
    values = [v.value for v in layer.trainable_variables], [v.value for v in layer.non_trainable_variables]
    return lambda x, *, train: layer.stateless_call(*values, x, training=train)


def _torch(features: int, epsilon: float) -> Layer:
    import torch

    there = torch_device.device()

    def features_last(part: torch.Tensor) -> np.ndarray:
        return np.moveaxis(part.float().cpu().numpy(), 1, -1)

    def layer(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # NumPy has no bfloat16 of PyTorch's; through float32 the values stay as they are.
        dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[str(x.dtype)]
        data = torch.from_numpy(np.moveaxis(x.astype(np.float32), -1, 1).copy()).to(there, dtype).requires_grad_()
        given = torch.from_numpy(np.moveaxis(cotangent.astype(np.float32), -1, 1).copy()).to(there, dtype)
        norm = torch.nn.BatchNorm2d(features, eps=epsilon, device=there)
        y = norm(data)
        (gradient,) = torch.autograd.grad(y, data, given)
        return features_last(y.detach()), features_last(gradient)

    return layer
