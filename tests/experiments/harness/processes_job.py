"""A small job of several processes, for `test_processes.py`: it sums over all devices, step by step.

In one of the steps it does what a test asks for. `python -m tests.experiments.harness.processes_job --distributed ...`.
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
from experiments.harness.console import make_console
from experiments.harness.errors import UserError
from experiments.harness.processes import activity, judgement
from experiments.harness.processes.agreement import in_all, require_same, spoken_by_the_first
from experiments.harness.processes.join import join

PROCESSES, STEP = 2, 5


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    address: str
    """Where process 0 listens."""
    process: int
    """The number of this process."""
    distributed: bool = False
    """As in the main job."""
    steps: int = 10_000
    """How many steps to do."""
    event: Literal[
        "none", "killed", "stopped", "asleep", "mistaken", "all mistaken", "broken", "interrupted", "orphaned"
    ] = "none"
    """What happens to this process in step 5."""
    stuck_after: float = judgement.STUCK_AFTER
    """That limit."""


def happen(event: str) -> None:
    match event:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "asleep":
            time.sleep(10_000)
        case "mistaken":
            raise UserError("`--models` must name at least one, got none.")
        case "all mistaken":
            with spoken_by_the_first(make_console()):
                in_all(lambda: happen("mistaken"))
        case "broken":
            raise ZeroDivisionError("division by zero\nin the second line")
        case "interrupted":  # As by a scheduler, which knows of the attendant alone.
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(10_000)
        case "orphaned":
            time.sleep(1)  # Until the attendant has passed on what was printed.
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10_000)


def work(cfg: Config, console: Console) -> None:
    """Sum."""
    judgement.STUCK_AFTER = cfg.stuck_after
    jax.config.update("jax_num_cpu_devices", 1)
    join(cfg.address, PROCESSES, cfg.process)
    require_same({"--steps": cfg.steps})
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), PartitionSpec("d"))
    x = jax.make_array_from_callback((PROCESSES,), sharding, lambda index: np.ones(PROCESSES, np.float32)[index])
    add = jax.jit(lambda x: (x + x.sum()) / (PROCESSES + 1), out_shardings=sharding)
    for step in range(cfg.steps):
        activity.begin()
        x = jax.block_until_ready(add(x))
        activity.reach("sums", step)
        if step == STEP:
            if cfg.process == 0:
                activity.save("sums", step)
            time.sleep(3)  # Until all know of that.
            if cfg.event != "none":
                console.print(f"{os.getpid()} {cfg.event} at {time.time()}")
                happen(cfg.event)
        time.sleep(0.1)
    console.print(f"sum {float(x.sum()):.1f}")


if __name__ == "__main__":
    program.leave(program.run(Config, None, work))
