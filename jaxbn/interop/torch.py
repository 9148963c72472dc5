"""PyTorch: BatchNorm1d, 2d and 3d, and SyncBatchNorm, whose state dicts are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import jax.numpy as jnp
import numpy as np

from jaxbn.interop import _own_checks
from jaxbn.interop._model import Layer, Layers, given
from jaxbn.interop._prefix import from_flat, to_flat
from jaxbn.interop.conventions import TORCH
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


@overload
def from_torch(state_dict: Mapping[str, Any], prefix: str) -> Layer: ...
@overload
def from_torch(state_dict: Mapping[str, Any]) -> Any: ...
def from_torch(state_dict: Mapping[str, Any], prefix: str = "") -> Layer | dict[str, Layer]:
    """Parameters and state of a batch norm layer of PyTorch, or of all those of a model.

    `scale, bias, mean, var, count = weight, bias, running_mean, running_var, num_batches_tracked`. Training goes on
    with `batch_norm(..., axis=1, **presets.TORCH)`; that of a layer with `momentum=None` goes on with
    `averaging="cumulative", ddof=1`.

    Args:
        state_dict: of the layer or of a whole model; values are tensors on the CPU, or arrays, `[features]`, floating.
        prefix: the layer's name in the model, e.g. `"layer1.0.bn1"`, with or without the dot behind it. Without it all
            layers are converted whose `running_mean` and `running_var` are there: batch norms, and instance norms that
            track statistics, which have the same names.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). A part that is missing, as with
        `affine=False`, is `None`; without `num_batches_tracked` the count is 0, as PyTorch itself reads it.
        Of a model, without `prefix`, a dict `{path: (params, state)}` in the order of the state dict.

    Raises:
        TypeError: `state_dict` is no dict, or a value no floating array that NumPy can read (bfloat16, on a GPU, or
            requiring grad).
        ValueError: the running statistics are missing (a layer with `track_running_stats=False` has none: it always
            normalises with the batch), or shapes differ.

    Example:
        >>> state_dict = {"bn.weight": np.ones(2, "float32"), "bn.bias": np.zeros(2, "float32")}
        >>> state_dict |= {"bn.running_mean": np.array([3.0, 4.0]), "bn.running_var": np.array([1.0, 2.0])}
        >>> params, state = from_torch(state_dict, "bn")
        >>> print(params.scale, state.mean, state.var)
        [1. 1.] [3. 4.] [1. 2.]
        >>> print(*from_torch(state_dict))
        bn

    Reference:
        `torch/nn/modules/batchnorm.py`; `jaxbn.interop.conventions.TORCH`.
    """
    return from_flat("state_dict", state_dict, TORCH, prefix, ".")


def to_torch(
    params: BatchNormParams | Layers, state: BatchNormState | None = None, prefix: str = ""
) -> dict[str, np.ndarray]:
    """The part of a PyTorch state dict that belongs to one batch norm layer, or to all those of a model.

    `weight, bias, running_mean, running_var, num_batches_tracked = scale, bias, mean, var, count`; it is put in
    place by `module.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})`, for the batch norms of
    a model with `strict=False`.

    Args:
        params: `BatchNormParams` of real `[features]` arrays, or `None` in them; or, without `state`, the layers of a
            model, `{path: (params, state)}`.
        state: `BatchNormState` of real `[features]` arrays.
        prefix: the layer's name in the model, or that of the part of it that the layers are of, with or without the dot
            behind it.

    Returns:
        A dict of NumPy arrays, copies that may be written to: `[features]`, and int64 `[]` for the count; without
        what is `None`. NumPy has no bfloat16 that PyTorch can read, so such parameters become float32.

    Raises:
        TypeError: complex or traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: several feature axes, or shapes that differ.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(*to_torch(*init_batch_norm(2), prefix="bn"))
        bn.weight bn.bias bn.running_mean bn.running_var bn.num_batches_tracked
        >>> print(*to_torch({"bn1": init_batch_norm(2, use_scale=False, use_bias=False)}))
        bn1.running_mean bn1.running_var bn1.num_batches_tracked

    Reference:
        `torch/nn/modules/batchnorm.py`; `jaxbn.interop.conventions.TORCH`.
    """
    layers = given(params, state)
    for path, own in layers.items():
        _own_checks.one_axis("PyTorch", own[1], path)
        _own_checks.real("PyTorch", *own, path)
    return {name: _readable(array) for name, array in to_flat(layers, TORCH, prefix, ".").items()}


def _readable(array: np.ndarray) -> np.ndarray:
    if jnp.issubdtype(array.dtype, jnp.integer):
        return np.array(array, np.int64)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array
