"""What batch norm's numbers mean in each framework, and where that is written."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from jaxbn import presets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """How one framework keeps its running statistics, and what it calls its arrays.

    Attributes:
        momentum_weighs: whether momentum is the weight of the `"old"` running value or of the `"new"` batch.
        momentum: its default; `None` where it must be given.
        epsilon: the default of what is added to the variance.
        ddof: 0 if the running variance is the biased one, 1 if it is unbiased.
        mean_start: the running mean before training.
        var_start: the running variance before training.
        debiased: whether evaluation divides the running values by `1 - momentum**count`, as if both started at 0.
        axis: the feature axis of a batch by default.
        scale: the name of the scale.
        bias: the name of the bias.
        mean: the name of the running mean.
        var: the name of the running variance.
        count: the name of the number of updates; `None` where there is none.
        version: the distribution that was read.
        source: its files and lines.

    Example:
        >>> print(TORCH.momentum_weighs, TORCH.momentum, TORCH.mean)
        new 0.1 running_mean
    """

    momentum_weighs: Literal["old", "new"]
    momentum: float | None
    epsilon: float
    ddof: Literal[0, 1]
    mean_start: float
    var_start: float
    debiased: bool
    axis: int
    scale: str
    bias: str
    mean: str
    var: str
    count: str | None
    version: str
    source: tuple[str, ...]


FLAX: Final = Convention(
    momentum_weighs="old",
    momentum=presets.FLAX["momentum"],
    epsilon=presets.FLAX["epsilon"],
    ddof=presets.FLAX["ddof"],
    mean_start=0.0,
    var_start=1.0,
    debiased=False,
    axis=-1,
    scale="scale",
    bias="bias",
    mean="mean",
    var="var",
    count=None,
    version="flax==0.12.8",
    source=(
        "flax/linen/normalization.py:310-311",
        "flax/linen/normalization.py:400-404",
        "flax/nnx/nn/normalization.py:295-296",
        "flax/nnx/nn/normalization.py:404-409",
    ),
)
"""Flax, linen and nnx."""

TORCH: Final = Convention(
    momentum_weighs="new",
    momentum=round(1 - presets.TORCH["momentum"], 9),
    epsilon=presets.TORCH["epsilon"],
    ddof=presets.TORCH["ddof"],
    mean_start=0.0,
    var_start=1.0,
    debiased=False,
    axis=1,
    scale="weight",
    bias="bias",
    mean="running_mean",
    var="running_var",
    count="num_batches_tracked",
    version="torch==2.13.0",
    source=("torch/nn/modules/batchnorm.py:41-42", "torch/nn/modules/batchnorm.py:182-194"),
)
"""PyTorch, with momentum as a number; `momentum=None` means equal weights, our `averaging="cumulative"`."""

KERAS: Final = Convention(
    momentum_weighs="old",
    momentum=presets.KERAS["momentum"],
    epsilon=presets.KERAS["epsilon"],
    ddof=presets.KERAS["ddof"],
    mean_start=0.0,
    var_start=1.0,
    debiased=False,
    axis=-1,
    scale="gamma",
    bias="beta",
    mean="moving_mean",
    var="moving_variance",
    count=None,
    version="keras==3.15.1",
    source=(
        "keras/src/layers/normalization/batch_normalization.py:163-164",
        "keras/src/layers/normalization/batch_normalization.py:385-391",
    ),
)
"""Keras."""

HAIKU: Final = Convention(
    momentum_weighs="old",
    momentum=None,
    epsilon=1e-5,
    ddof=0,
    mean_start=0.0,
    var_start=0.0,
    debiased=True,
    axis=-1,
    scale="scale",
    bias="offset",
    mean="mean_ema/average",
    var="var_ema/average",
    count="mean_ema/counter",
    version="dm-haiku==0.0.17",
    source=(
        "haiku/_src/batch_norm.py:68-69",
        "haiku/_src/batch_norm.py:124-125",
        "haiku/_src/moving_averages.py:117-127",
    ),
)
"""Haiku.

The starts are those of `hidden`. `average`, which is evaluated with, starts as what the initialising batch had.
"""

EQUINOX: Final = Convention(
    momentum_weighs="old",
    momentum=0.99,
    epsilon=1e-5,
    ddof=0,
    mean_start=0.0,
    var_start=1.0,
    debiased=True,
    axis=1,
    scale="weight",
    bias="bias",
    mean="hidden_mean",
    var="hidden_var",
    count="batch_counter",
    version="equinox==0.13.8",
    source=(
        "equinox/nn/_batch_norm.py:101-103",
        "equinox/nn/_batch_norm.py:232-240",
        "equinox/nn/_batch_norm.py:247-258",
    ),
)
"""Equinox in `mode="batch"`, where mean and variance are one pair, `batch_state_index`.

That the variance is divided although it starts at 1 is a mistake of this version. `mode="ema"` starts with the first
batch and divides by nothing.
"""

SLIM: Final = Convention(
    momentum_weighs="old",
    momentum=presets.SLIM["momentum"],
    epsilon=presets.SLIM["epsilon"],
    ddof=presets.SLIM["ddof"],
    mean_start=0.0,
    var_start=1.0,
    debiased=False,
    axis=-1,
    scale="gamma",
    bias="beta",
    mean="moving_mean",
    var="moving_variance",
    count=None,
    version="tf-slim==1.1.0",
    source=("tf_slim/layers/layers.py:465-469",),
)
"""TF-Slim, which is `tf.contrib.layers.batch_norm`; it has no scale by default.

The variance is that of the fused kernel, the default for data of 2 and 4 dimensions; without it the biased one is kept.
"""
