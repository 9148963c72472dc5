"""Layers of a model under the names that they have in another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jaxbn.interop import _own_checks
from jaxbn.interop._model import Layer, Layers


def rename(layers: Layers, names: Mapping[str, str] | Sequence[str] | Callable[[str], str]) -> dict[str, Layer]:
    """The layers of a model by other names.

    `new[names[path]] = layers[path]`, in the same order. The same layer is called `"layer1.0.bn2"` in one framework and
    `"Block_0/BatchNorm_1"` in another; `list(from_torch(...))` and `list(from_linen(...))` show what they are called.

    Args:
        layers: `{path: (params, state)}`, as `from_torch` and its like return them.
        names: a dict from path to name, in which a layer that keeps its own may be left out; or a list of names, one
            for each layer in their order, which `jax.tree.map` makes alphabetical; or a function from path to name.

    Returns:
        A new dict; the layers in it are the same.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: there are not as many names as layers, two are equal, or one is for a layer that is not there.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> layers = {"bn1": init_batch_norm(2), "layer1.0.bn1": init_batch_norm(3)}
        >>> print(*rename(layers, {"bn1": "bn_init"}))
        bn_init layer1.0.bn1
        >>> print(*rename(layers, ["bn_init", "Block_0/BatchNorm_0"]))
        bn_init Block_0/BatchNorm_0
        >>> print(*rename(layers, lambda path: path.replace(".", "/")))
        bn1 layer1/0/bn1

    Reference:
        `jaxbn.interop.to_linen`, whose `into` puts them into a model.
    """
    layers = _own_checks.by_path("layers", layers)
    return dict(zip(_own_checks.new_names(list(layers), names), layers.values(), strict=True))
