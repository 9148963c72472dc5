"""The main program on a few random images, as a command: `python -m tests.experiments.mnist.stand_in_job ...`.

So that something can happen to it while it trains, a dispatch takes its time: `PAUSE` seconds. There are two steps in
each, and `EVALUATE_EVERY` steps between evaluations.
"""

import os
import time

import pytest

from experiments.harness import program, progress, stopping
from experiments.harness.processes import activity
from experiments.mnist import __main__ as mnist
from experiments.tutorial import runs
from tests.experiments import stand_in


def reach_slowly(run: str, step: int) -> None:
    reach(run, step)
    time.sleep(float(os.environ.get("PAUSE", "0.3")))


reach = activity.reach

if __name__ == "__main__":
    patch = pytest.MonkeyPatch()
    stand_in.shrink(patch)
    # For a machine that is busy with other tests; an attendant waits hardly longer.
    patch.setattr(stopping, "PATIENCE", 14.0)
    patch.setattr(runs, "EVALUATE_EVERY", int(os.environ.get("EVALUATE_EVERY", "2")))
    patch.setattr(mnist, "load_kept", stand_in.load_stand_in)
    patch.setattr(progress.activity, "reach", reach_slowly)
    program.leave(mnist.main())
