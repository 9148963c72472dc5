"""PyTorch where JAX's programs run: on the same GPU if there is one, else on the CPU."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Queued:
    """What a GPU may still be computing, for `jax.block_until_ready` to wait for."""

    value: Any

    def block_until_ready(self) -> Queued:
        wait()
        return self


def device() -> str:
    """PyTorch's name of it."""
    import torch

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Until all that PyTorch has begun is done."""
    import torch

    if device() == "cuda":
        torch.cuda.synchronize()
