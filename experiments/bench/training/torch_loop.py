"""The four runs of `experiments.mnist` in PyTorch, as its users write them: eagerly, and with `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.bench import torch_device
from experiments.bench.torch_nets import make_net
from experiments.tutorial import runs


def torch_trainer(name: str, images: np.ndarray, labels: np.ndarray, *, compiled: bool) -> Callable[[int], None]:
    """The usual loop over batches of tensors in memory; `compiled` by `torch.compile`."""
    import torch

    there = torch_device.device()
    net = make_net(name).to(there)
    optimizer = torch.optim.SGD(net.parameters(), lr=runs.LEARNING_RATE)
    cross_entropy = torch.nn.CrossEntropyLoss()
    call = torch.compile(net) if compiled else net
    x, y = torch.from_numpy(images)[:, None].to(there) / 255, torch.from_numpy(labels).long().to(there)

    def train(steps: int) -> None:
        for chosen in torch.randint(len(x), (steps, runs.BATCH_SIZE), device=there):
            optimizer.zero_grad()
            cross_entropy(call(x[chosen]), y[chosen]).backward()
            optimizer.step()
        torch_device.wait()

    return train
