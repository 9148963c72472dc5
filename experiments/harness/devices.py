"""Which devices share each batch: flags, and the mesh that they stand for."""

from __future__ import annotations

import dataclasses

import jax
from jax.sharding import Mesh

from experiments.harness.config import require_at_least, require_at_most
from experiments.harness.errors import UserError
from experiments.harness.placement import mesh_over, on_cpu
from experiments.harness.processes.join import join


@dataclasses.dataclass(frozen=True)
class Devices:
    """The flags of a program whose batches several devices can share, of one process or of several."""

    devices: int | None = None
    """How many devices, of all processes, share each batch; by default one, with --distributed all."""
    distributed: bool = False
    """Be one of several processes with this command; SLURM, Open MPI, Kubernetes, TPU pods are recognised."""
    coordinator_address: str | None = None
    """Where process 0 listens, HOST:PORT; this and the next two for a cluster that is not recognised."""
    process_count: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this one is, from 0."""

    def check_devices(self) -> None:
        """Refuse flags that can't be right, whatever devices there are."""
        if self.devices is not None:
            require_at_least("--devices", self.devices, 1)
        cluster = {
            "--coordinator-address": self.coordinator_address,
            "--process-count": self.process_count,
            "--process-id": self.process_id,
        }
        given = [name for name, value in cluster.items() if value is not None]
        if given and not self.distributed:
            raise UserError(f"`{given[0]}` is for several processes; add --distributed, or leave it out.")
        if given and len(given) < len(cluster):
            raise UserError(
                f"{', '.join(f'`{name}`' for name in cluster)} must be given together, got {' and '.join(given)} "
                f"alone; add what is missing, or leave them out where JAX knows the cluster."
            )
        if self.coordinator_address is None or self.process_count is None or self.process_id is None:
            return
        host, _, port = self.coordinator_address.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise UserError(
                f"`--coordinator-address` must be HOST:PORT with a port up to 65535, got {self.coordinator_address}."
            )
        require_at_least("--process-count", self.process_count, 1)
        require_at_least("--process-id", self.process_id, 0)
        require_at_most("--process-id", self.process_id, self.process_count - 1)

    def join(self) -> None:
        """Become one of several processes, where that is asked for; before any device is used."""
        if self.distributed:
            join(self.coordinator_address, self.process_count, self.process_id)

    def mesh(self, batch: int) -> Mesh | None:
        """The devices that share a batch of so many examples, as many of each process; `None` for a single one."""
        processes, total = jax.process_count(), jax.device_count()
        wanted = self.devices or (total if self.distributed else 1)
        if batch % processes:
            fitting = max(number for number in range(1, processes) if batch % number == 0)
            raise UserError(
                f"the number of processes must divide the {batch} examples of a batch, got {processes}; "
                f"start {fitting} instead."
            )
        # The processes themselves are such a number.
        fitting = max(number for number in range(processes, total + 1, processes) if batch % number == 0)
        got = f"got {wanted}" if self.devices else f"got all {wanted} devices that were found"
        if wanted % processes:
            raise UserError(
                f"`--devices` must be a multiple of the {processes} processes, {got}; give --devices {fitting}."
            )
        if batch % wanted:
            raise UserError(
                f"`--devices` must divide the {batch} examples of a batch, {got}; give --devices {fitting}."
            )
        if wanted > total:
            more = f"; with JAX_NUM_CPU_DEVICES={wanted // processes} in its environment it makes as many of a CPU"
            raise UserError(
                f"`--devices` must be at most {total}, as many as JAX finds, got {wanted}{more if on_cpu() else ''}."
            )
        if wanted == 1:
            return None
        devices = [[d for d in jax.devices() if d.process_index == number] for number in range(processes)]
        return mesh_over([device for own in devices for device in own[: wanted // processes]])
