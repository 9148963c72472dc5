"""The example models in Flax's sources, which no wheel of Flax holds."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import optax

from experiments.harness.errors import UserError

DOWNLOAD = "pip download flax==0.12.8 --no-binary flax --no-deps --no-build-isolation && tar xzf flax-0.12.8.tar.gz"


def require_sources(sources: Path) -> None:
    """Refuse a folder without Flax's examples."""
    if not (sources / "examples").is_dir():
        raise UserError(f"`--sources` must be a folder with Flax's sources, got {sources}; get them by `{DOWNLOAD}`.")


def classes(file: Path, namespace: dict[str, Any]) -> dict[str, Any]:
    """The classes that a file defines, without running the rest of it, which may need what is not installed."""
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    exec(compile(tree, str(file), "exec"), namespace)
    return namespace


def resnet_classes(file: Path, norm: Any) -> dict[str, Any]:
    """The classes of Flax's `imagenet/models.py`, with this norm in the place of `nn.BatchNorm`."""
    nn = types.SimpleNamespace(**vars(flax.linen) | {"BatchNorm": norm})
    names = {"nn": nn, "jnp": jnp, "partial": functools.partial, "Any": Any, "ModuleDef": Any}
    return classes(file, names | {"Callable": Callable, "Sequence": tuple})


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
