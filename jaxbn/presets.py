"""Keyword arguments that make `batch_norm` follow another framework's conventions: `batch_norm(..., **TORCH)`.

Momentum is the weight of the OLD value everywhere here, so PyTorch's 0.1 reads 0.9.
"""

from typing import Any, Final

FLAX: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
TORCH: Final[dict[str, Any]] = {"momentum": 0.9, "epsilon": 1e-5, "averaging": "ema", "ddof": 1}
KERAS: Final[dict[str, Any]] = {"momentum": 0.99, "epsilon": 1e-3, "averaging": "ema", "ddof": 0}
# The decay and epsilon of tf.contrib.layers.batch_norm; it also leaves out the scale: init_batch_norm(use_scale=False).
SLIM: Final[dict[str, Any]] = {"momentum": 0.999, "epsilon": 1e-3, "averaging": "ema", "ddof": 0}
# The tutorial's own layer: its decay of 0.1 weighs the OLD value, so the statistics remember little but the last batch.
TUTORIAL: Final[dict[str, Any]] = {"momentum": 0.1, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
