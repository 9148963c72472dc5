"""PyTorch's batch norm, called as its users call it: eagerly, channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def torch_calls(shape: Sequence[int], dtype: str, axis: int, mode: str) -> dict[str, Callable[[], Any]]:
    """A call by name, or none where PyTorch is not installed.

    Args:
        shape: of the data as JAX has it.
        dtype: `"float32"` or `"bfloat16"`.
        axis: the feature axis there.
        mode: `"forward"`, `"forward+backward"` or `"evaluation"`.
    """
    try:
        import torch
    except ImportError:
        return {}
    first = shape if axis == 1 else (shape[0], shape[-1], *shape[1:-1])
    rng = np.random.default_rng(0)
    x, dy = (torch.from_numpy(rng.standard_normal(first, np.float32)).to(getattr(torch, dtype)) for _ in range(2))
    layer = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(first[1])
    layer.train(mode != "evaluation")

    def forward() -> Any:
        with torch.no_grad():
            return layer(x)

    def both() -> Any:
        data = x.detach().requires_grad_()
        y = layer(data)
        y.backward(dy)
        return y, data.grad

    return {"PyTorch": both if mode == "forward+backward" else forward}
