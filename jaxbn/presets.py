"""Keyword arguments that make `batch_norm` follow another framework's conventions: `batch_norm(..., **TORCH)`.

Momentum is the weight of the OLD value everywhere here, so PyTorch's 0.1 reads 0.9.
"""

from typing import Any, Final

from jaxbn.interop import conventions


def _preset(of: conventions.Convention) -> dict[str, Any]:
    assert of.momentum is not None
    momentum = of.momentum if of.momentum_weighs == "old" else 1 - of.momentum
    return {"momentum": momentum, "epsilon": of.epsilon, "averaging": "ema", "ddof": of.ddof}


FLAX: Final = _preset(conventions.FLAX)
TORCH: Final = _preset(conventions.TORCH)
KERAS: Final = _preset(conventions.KERAS)
# tf.contrib.layers.batch_norm with its defaults, which takes the fused path for data of 2 and 4 dimensions; that keeps
# the unbiased variance. With fused=False, batch weights or renorm it keeps the biased one, so that ddof is 0.
# It also leaves out the scale: init_batch_norm(use_scale=False).
SLIM: Final = _preset(conventions.SLIM)
# The tutorial's own layer: its decay of 0.1 weighs the OLD value, so the statistics remember little but the last batch.
# Its variance starts at 0: init_batch_norm(var_init=zeros).
TUTORIAL: Final[dict[str, Any]] = {"momentum": 0.1, "epsilon": 1e-5, "averaging": "ema", "ddof": 0}
