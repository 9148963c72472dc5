"""The nets to fold, in evaluation, with statistics and parameters as training leaves them: none 0 or 1."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxbn.linen
from experiments.bench import resnets
from experiments.tutorial import nets, runs


class Net(NamedTuple):
    """A model in evaluation.

    Attributes:
        call: `(variables, images) -> logits`.
        variables: of linen, in float32.
        images: the shape of one.
    """

    call: Callable[[Any, jax.Array], jax.Array]
    variables: Any
    images: tuple[int, ...]


class Depthwise(nn.Module):
    """Blocks of a depthwise and a 1x1 convolution, each with a norm and relu, as in MobileNet, then the mean and 10.

    Attributes:
        dtype: of the computation.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits `[batch, 10]` of images `[batch, height, width, 3]`."""

        def unit(x: jax.Array, features: int, width: int, **options: Any) -> jax.Array:
            x = nn.Conv(features, (width, width), use_bias=False, dtype=self.dtype, **options)(x)
            return nn.relu(jaxbn.linen.BatchNorm(use_running_average=not train, dtype=self.dtype)(x))

        x = unit(x, 32, 3, strides=2)
        for features, strides in BLOCKS:
            x = unit(x, x.shape[-1], 3, strides=strides, feature_group_count=x.shape[-1])
            x = unit(x, features, 1)
        return nn.Dense(10, dtype=self.dtype)(x.mean((1, 2)))


# Features and strides of MobileNet's first blocks.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))


def make_net(name: str, dtype: str, sources: Path, pixels: int, form: nets.Form) -> Net:
    """One of the nets.

    Args:
        name: `"mlp-bn"`, `"conv-bn"`, `"depthwise"`, `"resnet18"` or `"resnet50"`.
        dtype: of images and computation; the parameters are in float32.
        sources: Flax's sources, for the ResNets.
        pixels: height and width of the images of all but the tutorial's nets.
        form: of the tutorial's convolutional net.
    """
    module: Any
    tutorial = name in runs.RUNS
    if name == "depthwise":
        module = Depthwise(jnp.dtype(dtype))
    elif name.startswith("resnet"):
        module = resnets.make_net(sources, int(name.removeprefix("resnet")), jaxbn.linen.BatchNorm, jnp.dtype(dtype))
    else:
        module = runs.RUNS[name].model
        module = module.clone(form=form) if isinstance(module, nets.ConvNet) else module
    shape: tuple[int, ...] = (28, 28) if tutorial else (pixels, pixels, 3)

    def call(variables: Any, images: jax.Array) -> jax.Array:
        if tutorial:  # Its nets compute in the dtype of their parameters.
            params = jax.tree.map(lambda leaf: leaf.astype(images.dtype), variables["params"])
            variables = {**variables, "params": params}
        return module.apply(variables, images, train=False)

    init = functools.partial(module.init, train=False)
    return Net(call, as_trained(jax.jit(init)(jax.random.key(0), jnp.zeros((1, *shape)))), shape)


def as_trained(variables: Any) -> Any:
    """Variables with random statistics, scales and biases, so that no norm is the identity."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, value: jax.Array) -> jax.Array:
        name = path[-1].key
        if name in ("var", "scale"):
            return jnp.asarray(rng.uniform(0.5, 1.5, value.shape), value.dtype)
        if name in ("mean", "bias"):
            return jnp.asarray(rng.normal(0, 0.1, value.shape), value.dtype)
        return value

    return jax.tree_util.tree_map_with_path(leaf, variables)
