"""The nets of the speed run: one made for it, and the tutorial's, behind the same two functions."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from jax.nn import initializers

from experiments.hardest.net import EPSILON, MOMENTUM, Net, Pytree, contract
from jaxbn import batch_norm, init_batch_norm
from jaxbn.running import Averaging


def strided(features: tuple[int, ...], crop: int) -> Net:
    """The middle of the image, then convolutions 4x4 of stride 2, each with batch norm and relu, then 10 logits.

    A stride instead of pooling leaves a quarter of the products, and an even kernel fills cells of 2x2 pixels without
    waste. The batch lies in the last axis, so that a convolution is one matrix product.

    Args:
        features: output channels of the convolutions.
        crop: height and width of the middle that is looked at, divisible by 2 for every convolution.
    """
    cells = (crop // 2 ** len(features)) ** 2

    def init(key: jax.Array) -> tuple[Pytree, Pytree]:
        glorot, keys = initializers.glorot_uniform(), jax.random.split(key, len(features) + 1)
        shapes = [(4, 4, *ends) for ends in itertools.pairwise((1, *features))]
        kernels = [glorot(key, shape) for key, shape in zip(keys[1:], shapes, strict=True)]
        norms = [init_batch_norm(n, use_scale=False) for n in features]
        params = {
            "kernels": [kernel.reshape(-1, kernel.shape[-1]) for kernel in kernels],
            "norms": [norm for norm, _ in norms],
            "dense": glorot(keys[0], (features[-1] * cells, 10)),
            "bias": jnp.zeros(10),
        }
        return params, [state for _, state in norms]

    def apply(
        params: Pytree, state: Pytree, images: jax.Array, *, train: bool, averaging: Averaging = "warmup"
    ) -> tuple[jax.Array, Pytree]:
        margin = (len(images) - crop) // 2
        x = images[None, margin : margin + crop, margin : margin + crop]
        updated = []
        for kernel, norm, old in zip(params["kernels"], params["norms"], state, strict=True):
            x = contract(kernel, half_size_patches(x))
            x, new = batch_norm(norm, old, x, train, axis=0, momentum=MOMENTUM, epsilon=EPSILON, averaging=averaging)
            x = jax.nn.relu(x)
            updated.append(new)
        logits = contract(params["dense"], x.reshape(-1, x.shape[-1])) + params["bias"][:, None]
        return logits.T, updated

    return Net(init, apply)


def tutorial() -> Net:
    """The tutorial's convolutional net, with its batch norm: 10,326 parameters."""
    # Flax takes a sixth of a second to import, which the other net need not wait for.
    from experiments.tutorial.nets import ConvNet
    from jaxbn.linen import BatchNorm

    def model(averaging: Averaging) -> ConvNet:
        def norm(axis: int) -> BatchNorm:
            return BatchNorm(axis=axis, momentum=MOMENTUM, epsilon=EPSILON, averaging=averaging, use_scale=False)

        return ConvNet(norm)

    def init(key: jax.Array) -> tuple[Pytree, Pytree]:
        variables = model("warmup").init(key, jnp.zeros((1, 28, 28)), train=False)
        return variables["params"], variables["batch_stats"]

    def apply(
        params: Pytree, state: Pytree, images: jax.Array, *, train: bool, averaging: Averaging = "warmup"
    ) -> tuple[jax.Array, Pytree]:
        variables = {"params": params, "batch_stats": state}
        logits, updated = model(averaging).apply(
            variables, jnp.moveaxis(images, -1, 0), train=train, mutable=["batch_stats"]
        )
        return logits, updated["batch_stats"]

    return Net(init, apply)


def half_size_patches(x: jax.Array) -> jax.Array:
    """`[channels, H, W, batch]` -> `[16 * channels, H / 2, W / 2, batch]`: what a 4x4 kernel of stride 2 sees."""
    channels, height, width, batch = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = height // 2, width // 2
    x = x.reshape(channels, rows + 1, 2, columns + 1, 2, batch).transpose(2, 4, 0, 1, 3, 5)
    x = x.reshape(4 * channels, rows + 1, columns + 1, batch)
    # One direction after the other: the gradient then adds up 4 overlapping arrays of half the patches' size.
    x = jnp.stack([x[:, i : i + rows] for i in range(2)])
    x = jnp.stack([x[:, :, :, j : j + columns] for j in range(2)], axis=1)
    return x.reshape(-1, rows, columns, batch)
