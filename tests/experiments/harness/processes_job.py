"""A job of several processes for the tests: `python -m tests.experiments.harness.processes_job --distributed ...`.

It sums over all devices, step by step, and does at a given step what a test asks for.
"""

import dataclasses
import os
import signal
import time
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from experiments.harness import program
from experiments.harness.errors import UserError
from experiments.harness.processes import activity, judgement
from experiments.harness.processes.agreement import require_same
from experiments.harness.processes.join import join


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    address: str
    """Where process 0 listens."""
    process: int
    """The number of this process."""
    distributed: bool = False
    """As in the main job."""
    count: int = 2
    """How many processes there are."""
    steps: int = 1000
    """How many steps to do."""
    happens: Literal["nothing", "sleep", "late", "killed", "stopped", "mistake", "bug", "interrupted"] = "nothing"
    """What happens in this process in step 20, or for `late` before the first."""
    limits: float = 1.0
    """A factor of the limits of the watch."""


def happen(what: str) -> None:
    if what == "sleep":
        time.sleep(1000)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "interrupted":
        os.kill(os.getppid(), signal.SIGINT)
    if what == "mistake":
        raise UserError("`--models` must name at least one, got none.")
    if what == "bug":
        raise ZeroDivisionError("division by zero\nin the second line")


def work(cfg: Config, console: Console) -> None:
    """Sum."""
    judgement.GONE_AFTER *= cfg.limits
    judgement.STUCK_AFTER *= cfg.limits
    jax.config.update("jax_num_cpu_devices", 1)
    join(cfg.address, cfg.count, cfg.process)
    # It connects the processes, for which gloo waits half a minute; they have just met.
    require_same({"--steps": cfg.steps})
    if cfg.happens == "late":
        time.sleep(35)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), PartitionSpec("d"))
    x = jax.make_array_from_callback((cfg.count,), sharding, lambda index: np.ones(cfg.count, np.float32)[index])
    add = jax.jit(lambda x: (x + x.sum()) / (cfg.count + 1), out_shardings=sharding)
    for step in range(cfg.steps):
        activity.begin()
        x = jax.block_until_ready(add(x))
        activity.reach("job", step)
        if step % 10 == 0 and cfg.process == 0:
            activity.save("job", step)
        if step == 20:
            console.print(f"process {cfg.process} is at step 20")
            time.sleep(2)
            happen(cfg.happens)
        time.sleep(0.1)
    console.print("done")


if __name__ == "__main__":
    program.leave(program.run(Config, None, work))
