"""Where programs run, and the two doors between them and NumPy: `place` in, `fetch` out.

What suits a CPU differs from what suits an accelerator; only here is asked which it is. Who fetches results is who
writes them: with several processes one of them would, and all others neither fetch nor write.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Pytree = Any


def on_cpu() -> bool:
    """Whether programs run on a CPU, as they do where no accelerator is found."""
    return jax.default_backend() == "cpu"


def place(tree: Pytree) -> Pytree:
    """States and data on the devices that programs run on; with several, here is decided which gets what."""
    return jax.tree.map(jnp.asarray, tree)


def fetch(tree: Pytree) -> Pytree:
    """Results as NumPy arrays; the keys of a dict come back sorted, as from all trees."""
    return jax.tree.map(np.asarray, tree)
