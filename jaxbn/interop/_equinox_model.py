"""Models of Equinox, which is not imported: they are pytrees, and a batch norm is known by its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.interop._equinox_layer import MODES, Mode

TRAINED: Final = ("weight", "bias")


def mode_of(node: Any) -> Mode | None:
    """The mode whose places in the state a layer has; `None` if it is no batch norm."""
    return next((mode for mode, names in MODES.items() if all(getattr(node, n, None) is not None for n in names)), None)


def is_norm(node: Any) -> bool:
    return mode_of(node) is not None


def norms(model: Any) -> dict[str, Any]:
    """The batch norms by their paths, as `"layers.0.bn"`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model, is_leaf=is_norm)
    return {_path(path): leaf for path, leaf in leaves if is_norm(leaf)}


def read(norm: Any, state: Any) -> dict[str, Any]:
    """What a layer and its state keep."""
    mode = mode_of(norm)
    kept = {name: state.get(getattr(norm, name)) for name in (MODES[mode] if mode else ())}
    return {name: getattr(norm, name) for name in TRAINED} | kept


def write(model: Any, state: Any, new: Mapping[str, Mapping[str, Any]]) -> tuple[Any, Any]:
    """The model and its state with other arrays in the layers at these paths."""
    # Equinox makes a state useless when another is made of it; of the one that was given, this is a copy.
    state = jax.tree.map(lambda part: part, state)
    for path, norm in norms(model).items():
        for name in [name for names in MODES.values() for name in names if name in new.get(path, {})]:
            value, index = new[path][name], getattr(norm, name)
            if isinstance(value, tuple):
                value = tuple(np.asarray(part, old.dtype) for part, old in zip(value, state.get(index), strict=True))
            state = state.set(index, value)

    def written(path: Any, leaf: Any) -> Any:
        arrays = new.get(_path(path)) if is_norm(leaf) else None
        return leaf if arrays is None else _with(leaf, arrays)

    return jax.tree_util.tree_map_with_path(written, model, is_leaf=is_norm), state


def _with(norm: Any, arrays: Mapping[str, Any]) -> Any:
    def chosen(path: Any, leaf: Any) -> Any:
        name = _path(path)
        return jnp.asarray(arrays[name], leaf.dtype) if name in TRAINED else leaf

    return jax.tree_util.tree_map_with_path(chosen, norm)


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
