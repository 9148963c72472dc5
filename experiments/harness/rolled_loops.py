"""Loops that XLA's CPU compiler leaves as they are."""

from __future__ import annotations

import os


def leave_loops_rolled() -> None:
    """Spare XLA's CPU compiler the unrolling of loops, unless the user has chosen such options.

    Unrolling is a fifth of the work of compiling a training step. It can only speed up short innermost loops, which
    nets that keep the batch in the last axis do not have. To be called before the first computation.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "--xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options=xla_cpu_disable_loop_unrolling".strip()
