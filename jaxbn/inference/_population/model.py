"""Variables as a list of leaves, whether they are a tree of arrays or a model of Flax nnx."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbn.inference._layers import NAMELESS, layer_names, variable_names


class Model(NamedTuple):
    """The variables of a model, leaf by leaf.

    Attributes:
        leaves: of the variables.
        paths: of each leaf, its name.
        layers: of each leaf, the name of the layer that it belongs to.
        given: from leaves to what `apply` gets; a model of nnx evaluates.
        rebuilt: from leaves to variables of the same kind.
    """

    leaves: list[Any]
    paths: list[str]
    layers: list[str]
    given: Callable[[list[Any]], Any]
    rebuilt: Callable[[list[Any]], Any]

    @property
    def names(self) -> list[str]:
        """Of each leaf, that of the layer if it is a mean."""
        return [
            (layer or NAMELESS) if _last(path) == "mean" else path.removeprefix("batch_stats/")
            for path, layer in zip(self.paths, self.layers, strict=True)
        ]

    def beside(self, mean: int, last: str) -> Any:
        """The leaf of this name in the same place as that of a mean, or `None`."""
        path = self.paths[mean]
        if _last(path) != "mean":
            return None
        return dict(zip(self.paths, self.leaves, strict=True)).get(f"{path.removesuffix('mean')}{last}")


def opened(variables: Any) -> Model:
    nnx = sys.modules.get("flax.nnx")
    tree, given, rebuilt = variables, lambda state: state, lambda state: state
    if nnx is not None and isinstance(variables, nnx.Module):
        graph, tree = nnx.split(variables)
        evaluating = nnx.merge(graph, tree)
        evaluating.eval()
        quiet = nnx.graphdef(evaluating)
        given, rebuilt = (lambda state: nnx.merge(quiet, state)), (lambda state: nnx.merge(graph, state))
    leaves, structure = jax.tree.flatten(tree)
    return Model(
        leaves,
        variable_names(tree),
        layer_names(tree),
        lambda leaves: given(jax.tree.unflatten(structure, leaves)),
        lambda leaves: rebuilt(jax.tree.unflatten(structure, leaves)),
    )


def like(leaf: Any, value: Any) -> Any:
    """The value with the dtype, the shape and the place of the leaf."""
    if isinstance(value, jax.core.Tracer):
        return value.astype(leaf.dtype).reshape(leaf.shape)
    value = np.asarray(value).astype(leaf.dtype).reshape(leaf.shape)
    if not isinstance(leaf, jax.Array):
        return value
    # What had no fixed place gets none, or all would be compiled again for it.
    return jax.device_put(value, leaf.sharding) if leaf.committed else jax.numpy.asarray(value)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
