"""Keyword arguments that make `batch_norm` follow another framework's conventions: `batch_norm(..., **TORCH)`.

Momentum is the weight of the OLD value everywhere here, so PyTorch's 0.1 reads 0.9.
"""

from typing import Any, Final

FLAX: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
"""Flax, linen and nnx."""

TORCH: Final[dict[str, Any]] = {"momentum": 0.9, "epsilon": 1e-5, "averaging": "ema", "ddof": 1}
"""PyTorch, whose feature axis is `axis=1`."""

KERAS: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-3, "averaging": "ema", "ddof": 0}
"""Keras."""

SLIM: Final[dict[str, Any]] = {"momentum": 0.999, "epsilon": 1e-3, "averaging": "ema", "ddof": 1}
"""TF-Slim, which is `tf.contrib.layers.batch_norm`.

With its defaults it takes the fused path for data of 2 and 4 dimensions, which keeps the unbiased variance. With
`fused=False`, batch weights or renorm it keeps the biased one: `ddof=0`. It has no scale by default:
`init_batch_norm(use_scale=False)`.
"""

TUTORIAL: Final[dict[str, Any]] = {"momentum": 0.1, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
"""The tutorial's own layer.

Its decay of 0.1 weighs the OLD value, so that the statistics remember little but the last batch. Its variance starts
at 0: `init_batch_norm(var_init=jax.nn.initializers.zeros)`.
"""
