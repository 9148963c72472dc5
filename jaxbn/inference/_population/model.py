"""Variables as a list of leaves, whether they are a tree of arrays or a model of Flax nnx."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

# Of the only layer, whose mean is the whole path.
NAMELESS = "batch_norm"


class Model(NamedTuple):
    """Attributes:
    leaves: of the variables.
    names: of each leaf, that of the layer if it is a mean.
    given: from leaves to what `apply` gets; a model of nnx evaluates.
    rebuilt: from leaves to variables of the same kind.
    """

    leaves: list[Any]
    names: list[str]
    given: Callable[[list[Any]], Any]
    rebuilt: Callable[[list[Any]], Any]

    def beside(self, mean: int, last: str) -> Any:
        """The leaf of this name in the same place as that of a mean, or `None`."""
        place = self.names[mean]
        name = last if place == NAMELESS else f"{place}/{last}"
        return dict(zip(self.names, self.leaves, strict=True)).get(name)


def opened(variables: Any) -> Model:
    nnx = sys.modules.get("flax.nnx")
    tree, given, rebuilt = variables, lambda state: state, lambda state: state
    if nnx is not None and isinstance(variables, nnx.Module):
        graph, tree = nnx.split(variables)
        evaluating = nnx.merge(graph, tree)
        evaluating.eval()
        quiet = nnx.graphdef(evaluating)
        given, rebuilt = (lambda state: nnx.merge(quiet, state)), (lambda state: nnx.merge(graph, state))
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    return Model(
        [leaf for _, leaf in paths],
        [_name(path) for path, _ in paths],
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


def _name(path: Any) -> str:
    steps = [jax.tree_util.keystr((step,), simple=True) for step in path]
    steps = steps[:-1] if steps[-1:] == ["value"] else steps
    steps = steps[:-1] if steps[-1:] == ["mean"] else steps
    steps = steps[1:] if steps[:1] == ["batch_stats"] else steps
    return "/".join(steps) or NAMELESS
