"""How a process becomes one of several."""

from __future__ import annotations

import jax

from experiments.harness.errors import UserError
from experiments.harness.processes import link, watch

# Seconds. All come to the end at once, for `watch.finish` has waited for them.
_TIMEOUT_OF_SHUTDOWN = 30
# Enough to start the same command by hand on another machine. One that died on its way holds the others no longer.
_TIMEOUT = 45


def join(address: str | None, count: int | None, number: int | None) -> None:
    """Become one of several processes, before any device is used, and watch over the others from then on.

    Args:
        address: where process 0 listens, `host:port`; `None`, like the others, where the cluster is known to JAX.
        count: how many processes there are.
        number: which of them this one is, from 0.

    Raises:
        UserError: nothing was given, and JAX recognises no cluster; or process 0 can't listen there.
    """
    # JAX's handler of SIGTERM would replace that of `link`, which ends the process with a word to the others.
    jax.config.update("jax_enable_preemption_service", val=False)
    link.tell(joining=[address or "the address of process 0", _TIMEOUT])
    try:
        # JAX's own heartbeats keep their limit of 100 s: the watch is sooner, and says more.
        jax.distributed.initialize(
            address, count, number, initialization_timeout=_TIMEOUT, shutdown_timeout_seconds=_TIMEOUT_OF_SHUTDOWN
        )
    except ValueError:
        raise UserError(
            "`--distributed` needs SLURM, Open MPI, Kubernetes or a TPU pod around it, and found none; give "
            "--coordinator-address, --process-count and --process-id."
        ) from None
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"`--coordinator-address` must be where process 0 can listen, got {address} ({error}); name a free port."
        ) from None
    watch.start()
