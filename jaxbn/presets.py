"""Keyword arguments that make `batch_norm` follow another framework's conventions: `batch_norm(..., **TORCH)`.

Momentum is the weight of the OLD value everywhere here, so PyTorch's 0.1 reads 0.9.
"""

from typing import Any, Final

FLAX: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
TORCH: Final[dict[str, Any]] = {"momentum": 0.9, "epsilon": 1e-5, "averaging": "ema", "ddof": 1}
KERAS: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-3, "averaging": "ema", "ddof": 0}
# tf.contrib.layers.batch_norm with its defaults, which takes the fused path for data of 2 and 4 dimensions; that keeps
# the unbiased variance. With fused=False, batch weights or renorm it keeps the biased one, so that ddof is 0.
# It also leaves out the scale: init_batch_norm(use_scale=False).
SLIM: Final[dict[str, Any]] = {"momentum": 0.999, "epsilon": 1e-3, "averaging": "ema", "ddof": 1}
# The tutorial's own layer: its decay of 0.1 weighs the OLD value, so the statistics remember little but the last batch.
# Its variance starts at 0: init_batch_norm(var_init=zeros).
TUTORIAL: Final[dict[str, Any]] = {"momentum": 0.1, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
