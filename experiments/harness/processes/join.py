"""How a process becomes one of several."""

from __future__ import annotations

import jax

from experiments.harness.errors import UserError


def join(address: str | None, count: int | None, number: int | None) -> None:
    """Become one of several processes, before any device is used.

    Args:
        address: where process 0 listens, `host:port`; `None`, like the others, where the cluster is known to JAX.
        count: how many processes there are.
        number: which of them this one is, from 0.

    Raises:
        UserError: nothing was given, and JAX recognises no cluster.
    """
    try:
        jax.distributed.initialize(address, count, number)
    except ValueError:
        raise UserError(
            "`--distributed` needs SLURM, Open MPI, Kubernetes or a TPU pod around it, and found none; give "
            "--coordinator-address, --process-count and --process-id."
        ) from None
