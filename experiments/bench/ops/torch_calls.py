"""PyTorch's batch norm, called as its users call it: eagerly, channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.bench import torch_device


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
    there = {"device": torch_device.device()}
    values = (torch.from_numpy(rng.standard_normal(first, np.float32)) for _ in range(2))
    x, dy = (value.to(dtype=getattr(torch, dtype), **there) for value in values)
    layer = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(first[1], **there)
    layer.train(mode != "evaluation")

    def forward() -> Any:
        with torch.no_grad():
            return torch_device.Queued(layer(x))

    def both() -> Any:
        data = x.detach().requires_grad_()
        y = layer(data)
        y.backward(dy)
        return torch_device.Queued((y, data.grad))

    return {"PyTorch": both if mode == "forward+backward" else forward}
