"""The four nets of `experiments.mnist` in PyTorch, as its users write them."""

from __future__ import annotations

from typing import Any


def make_net(name: str) -> Any:
    """The net, channels first."""
    from torch import nn

    norm = name.endswith("-bn")
    if name.startswith("mlp"):
        hidden, output = nn.Linear(784, 100), nn.Linear(100, 10)
        for layer in (hidden, output):
            nn.init.trunc_normal_(layer.weight, std=0.05, a=-0.1, b=0.1)
            nn.init.constant_(layer.bias, 0.1)
        between: list[nn.Module] = []
        if norm:
            between.append(nn.BatchNorm1d(100, momentum=0.9))
            for parameter in between[0].parameters():
                nn.init.normal_(parameter)
        return nn.Sequential(nn.Flatten(), hidden, *between, nn.ReLU(), output)
    layers: list[Any] = []
    for channels, features, width in ((1, 6, 3), (6, 16, 5)):
        layers.append(nn.Conv2d(channels, features, width, padding="same", bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(features, eps=1e-3, momentum=0.001))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(784, 10)]
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
