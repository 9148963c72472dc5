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
    """How many devices share each batch, those of all processes; None for one, and with --distributed for all."""
    distributed: bool = False
    """Be one of several processes with this same command; SLURM, Open MPI, Kubernetes and TPU pods are recognised."""
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
            raise UserError(f"`{given[0]}` is for several processes, which `--distributed` asks for; add that flag.")
        if missing := [name for name in cluster if name not in given] if given else []:
            raise UserError(f"`{given[0]}` needs {' and '.join(missing)} too, got neither value by itself; add it.")
        if self.coordinator_address is None or self.process_count is None or self.process_id is None:
            return
        host, _, port = self.coordinator_address.rpartition(":")
        if not (host and port.isdecimal()):
            raise UserError(f"`--coordinator-address` must be HOST:PORT, got {self.coordinator_address}.")
        require_at_least("--process-count", self.process_count, 1)
        require_at_least("--process-id", self.process_id, 0)
        require_at_most("--process-id", self.process_id, self.process_count - 1)

    def join(self) -> None:
        """Become one of several processes, where that is asked for; before any device is used."""
        if self.distributed:
            join(self.coordinator_address, self.process_count, self.process_id)
            self._by_process()

    def mesh(self, batch: int) -> Mesh | None:
        """The devices that share a batch of so many examples; `None` where it is a single one."""
        found = self._by_process()
        total = sum(len(own) for own in found)
        wanted = self.devices or (total if self.distributed else 1)
        if wanted % len(found):
            raise UserError(f"`--devices` must be a multiple of the {len(found)} processes, got {wanted}.")
        if wanted > total:
            more = f"; JAX_NUM_CPU_DEVICES={wanted // len(found)} in the environment makes as many of a CPU"
            raise UserError(f"`--devices` must be at most the {total} that there are, got {wanted}{more * on_cpu()}.")
        if batch % wanted:
            raise UserError(f"`--devices` must divide the {batch} examples of a batch, got {wanted}.")
        chosen = [device for own in found for device in own[: wanted // len(found)]]
        return mesh_over(chosen) if wanted > 1 else None

    def _by_process(self) -> list[list[jax.Device]]:
        found: list[list[jax.Device]] = [[] for _ in range(jax.process_count())]
        for device in jax.devices():
            found[device.process_index].append(device)
        for number, own in enumerate(found):
            if len(own) != len(found[0]):
                raise UserError(
                    f"`--distributed` needs as many devices in each process, got {len(found[0])} in process 0 and "
                    f"{len(own)} in process {number}."
                )
        return found
