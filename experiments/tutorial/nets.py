"""The tutorial's two networks, and deeper ones; batch norm is an argument, never a twin network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.typing import Initializer

from experiments.harness.placement import on_cpu
from experiments.tutorial.cells import CellConv, pool_cells

Norm = Callable[..., nn.Module]


class MLP(nn.Module):
    """784 -> 100 -> norm -> relu -> 10.

    Attributes:
        norm: makes the normalisation layer, `norm()(x, use_running_average=...)`; `None` for none.
        kernel_init: of both dense layers.
        bias_init: of both dense layers.
    """

    norm: Norm | None = None
    kernel_init: Initializer = initializers.truncated_normal(0.05)
    bias_init: Initializer = initializers.constant(0.1)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits `[batch, 10]` of images `[batch, 28, 28]` with pixels in [0, 1]."""
        x = images.reshape(len(images), -1)
        x = nn.Dense(100, kernel_init=self.kernel_init, bias_init=self.bias_init)(x)
        if self.norm is not None:
            x = self.norm()(x, use_running_average=not train)
        return nn.Dense(10, kernel_init=self.kernel_init, bias_init=self.bias_init)(nn.relu(x))


class Deep(nn.Module):
    """784 -> (100 -> norm -> activation) as often as the depth says -> 10.

    Attributes:
        depth: hidden layers.
        norm: makes the normalisation layer, as in `MLP`; with it, the hidden layers have no biases of their own.
        activation: of the hidden layers.
        kernel_init: of all dense layers; `None` for He's in the hidden layers and LeCun's in the last.
    """

    depth: int
    norm: Norm | None = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits `[batch, 10]` of images `[batch, 28, 28]` with pixels in [0, 1]."""
        x = images.reshape(len(images), -1)
        for _ in range(self.depth):
            x = nn.Dense(100, use_bias=self.norm is None, kernel_init=self.kernel_init or initializers.he_normal())(x)
            if self.norm is not None:
                x = self.norm()(x, use_running_average=not train)
            x = self.activation(x)
        return nn.Dense(10, kernel_init=self.kernel_init or initializers.lecun_normal())(x)


class Form(NamedTuple):
    """A way to compute a convolutional net, with the same parameters and values in each.

    Attributes:
        open: `[batch, height, width]` to what the first convolution takes.
        convolution: makes a SAME convolution of odd width, `convolution(features, width, ...)`.
        axis: of the features.
        pool: the maximum of each 2x2 pixels.
        rows: the last layer's input, `[batch, features * height * width]`.
    """

    open: Callable[[jax.Array], jax.Array]
    convolution: Callable[..., nn.Module]
    axis: int
    pool: Callable[[jax.Array], jax.Array]
    rows: Callable[[jax.Array], jax.Array]


# For CPUs: `[features, height, width, batch]`, see `cells`.
CELLS = Form(
    open=lambda images: jnp.moveaxis(images, 0, -1)[None],
    convolution=CellConv,
    axis=1,
    pool=pool_cells,
    rows=lambda x: x.reshape(-1, x.shape[-1]).T,
)
# For accelerators, whose compilers know convolutions: `[batch, height, width, features]`, as Flax has it.
CHANNELS_LAST = Form(
    open=lambda images: images[..., None],
    convolution=lambda features, width, **options: nn.Conv(features, (width, width), **options),
    axis=-1,
    pool=lambda x: nn.max_pool(x, (2, 2), (2, 2)),
    rows=lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1),
)


class ConvNet(nn.Module):
    """conv 3x3x6 -> norm -> relu -> pool -> conv 5x5x16 -> norm -> relu -> pool -> 10, SAME padding.

    Attributes:
        norm: makes the normalisation layer for the given `axis`, `norm(axis=1)(x, use_running_average=...)`; `None` for
            none, and then the convolutions have biases.
        kernel_init: of all layers.
        form: how it is computed; `None` for what suits the platform.
    """

    norm: Norm | None = None
    kernel_init: Initializer = initializers.glorot_uniform()
    form: Form | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits `[batch, 10]` of images `[batch, 28, 28]` with pixels in [0, 1]."""
        form = self.form or (CELLS if on_cpu() else CHANNELS_LAST)
        x = form.open(images)
        for number, (features, width) in enumerate(((6, 3), (16, 5))):
            options: dict[str, Any] = {"use_bias": self.norm is None, "kernel_init": self.kernel_init}
            x = form.convolution(features, width, **options, name=f"CellConv_{number}")(x)
            if self.norm is not None:
                x = self.norm(axis=form.axis)(x, use_running_average=not train)
            # The maximum first: it commutes with relu, and leaves it a quarter of the work.
            x = nn.relu(form.pool(x))
        return nn.Dense(10, kernel_init=self.kernel_init)(form.rows(x))
