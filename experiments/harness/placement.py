"""Where programs run. What suits a CPU differs from what suits an accelerator; only here is asked which it is."""

from __future__ import annotations

import jax


def on_cpu() -> bool:
    """Whether programs run on a CPU, as they do where no accelerator is found."""
    return jax.default_backend() == "cpu"
