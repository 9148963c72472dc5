"""The same nets in PyTorch, channels first, as they are in evaluation and fused by PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.bench import torch_device
from experiments.bench.inference.nets import BLOCKS
from experiments.bench.resnets import CLASSES, SIZES
from experiments.bench.torch_nets import make_net


def torch_calls(name: str, batch: int, dtype: str, pixels: int) -> dict[str, Callable[[], Any]]:
    """A call with and one without PyTorch's fusion, or none where it is not installed.

    Args:
        name: as in `nets.make_net`.
        batch: images.
        dtype: `"float32"` or `"bfloat16"`.
        pixels: height and width of the images of all but the tutorial's nets.
    """
    try:
        import torch
        from torch.fx.experimental.optimization import fuse
    except ImportError:
        return {}
    shape = (1, 28, 28) if name.endswith("-bn") else (3, pixels, pixels)
    images = np.random.default_rng(0).standard_normal((batch, *shape), np.float32)
    x = torch.from_numpy(images).to(torch_device.device(), getattr(torch, dtype))
    net = _net(name).eval()

    def call(model: Any) -> Callable[[], Any]:
        model.to(x.device, x.dtype)

        def evaluate() -> Any:
            with torch.inference_mode():
                return torch_device.Queued(model(x))

        return evaluate

    # It is fused in float32, as ours is.
    fused = fuse(net)
    return {"PyTorch": call(net), "PyTorch, fused": call(fused)}


def _net(name: str) -> Any:
    if name == "depthwise":
        return _depthwise()
    if name.startswith("resnet"):
        return _resnet(int(name.removeprefix("resnet")))
    return make_net(name)


def _unit(channels: int, features: int, width: int, stride: int = 1, groups: int = 1) -> list[Any]:
    from torch import nn

    options: dict[str, Any] = {"padding": width // 2, "groups": groups, "bias": False}
    return [nn.Conv2d(channels, features, width, stride, **options), nn.BatchNorm2d(features)]


def _depthwise() -> Any:
    from torch import nn

    layers = [*_unit(3, 32, 3, 2), nn.ReLU()]
    channels = 32
    for features, stride in BLOCKS:
        layers += [*_unit(channels, channels, 3, stride, channels), nn.ReLU(), *_unit(channels, features, 1), nn.ReLU()]
        channels = features
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _resnet(depth: int) -> Any:
    """He et al., "Deep residual learning for image recognition", CVPR 2016, table 1."""
    from torch import nn

    sizes, block = SIZES[depth]
    bottleneck = block.startswith("Bottleneck")

    class Block(nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            features = 4 * width if bottleneck else width
            if bottleneck:
                units = [_unit(channels, width, 1), _unit(width, width, 3, stride), _unit(width, features, 1)]
            else:
                units = [_unit(channels, width, 3, stride), _unit(width, width, 3)]
            self.body = nn.Sequential(*[layer for unit in units for layer in (*unit, nn.ReLU())][:-1])
            same = stride == 1 and channels == features
            self.short = nn.Identity() if same else nn.Sequential(*_unit(channels, features, 1, stride))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.body(x) + self.short(x))

    layers = [*_unit(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, blocks in enumerate(sizes):
        for number in range(blocks):
            layers.append(Block(channels, 64 * 2**stage, 2 if stage and not number else 1))
            channels = 64 * 2**stage * (4 if bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
