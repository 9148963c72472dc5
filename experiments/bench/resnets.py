"""A training step of the ResNets in Flax's examples, with anyone's batch norm in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import optax

import jaxbn.linen
import jaxbn.nnx
from experiments.bench import flax_examples

# Where Flax's sources define the nets.
FILE = Path("examples/imagenet/models.py")
SIZES = {18: ([2] * 4, "ResNetBlock"), 50: ([3, 4, 6, 3], "BottleneckResNetBlock")}
CLASSES = 1000


def bridged(layer: Any) -> Callable[..., Any]:
    """A layer of nnx where one of linen is expected, by Flax's own bridge: the examples have no ResNet of nnx."""
    return lambda name=None, **kw: lambda x: flax.nnx.bridge.to_linen(layer, x.shape[-1], name=name, **kw)(x)


LINEN: dict[str, Callable[..., Any]] = {
    "jaxbn": jaxbn.linen.BatchNorm,
    "linen": flax.linen.BatchNorm,
    "linen, stable": functools.partial(flax.linen.BatchNorm, use_fast_variance=False),
}
NNX: dict[str, Callable[..., Any]] = {
    "jaxbn, nnx": bridged(jaxbn.nnx.BatchNorm),
    "nnx": bridged(flax.nnx.BatchNorm),
}


def make_net(sources: Path, depth: int, norm: Callable[..., Any], dtype: Any) -> Any:
    """Flax's example, with this norm."""
    found = flax_examples.resnet_classes(sources / FILE, lambda **kw: norm(**kw | {"axis_name": None}))
    sizes, block = SIZES[depth]
    return found["ResNet"](stage_sizes=sizes, block_cls=found[block], num_classes=CLASSES, dtype=dtype)


def resnet(
    sources: Path, depth: int, norm: Callable[..., Any], images: jax.ShapeDtypeStruct
) -> tuple[Callable[..., Any], Callable[[jax.Array], Any]]:
    """One step of SGD with the norm in Flax's example, in the dtype of the images.

    Returns:
        `step` and `start`, for `step(*start(key), images, labels) -> (variables, state, loss)`.
    """
    net = make_net(sources, depth, norm, images.dtype)
    optimizer = optax.sgd(0.1, 0.9)

    def step(variables: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            logits, updates = net.apply({**variables, "params": params}, images, mutable=["batch_stats"])
            return flax_examples.cross_entropy(logits.astype(jnp.float32), labels), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        change, state = optimizer.update(gradient, state)
        return {"params": optax.apply_updates(variables["params"], change), **updates}, state, value

    def start(key: jax.Array) -> Any:
        variables = net.init(key, jnp.zeros(images.shape, images.dtype))
        return variables, optimizer.init(variables["params"])

    return step, start
