"""A run that is finished, as its checkpoint says, without any training."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import files
from experiments.harness.checkpoint import Checkpoint, Checkpoints, Measured

SETTINGS = {"seeds": [0, 1]}


def save_measured(folder: Path, records: list[dict[str, Any]], seconds: float = 1.0) -> None:
    """Write it, over what was there."""
    files.write_json(folder / "config.json", SETTINGS)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    with contextlib.closing(Checkpoints(folder / "checkpoints", SETTINGS)) as saved:
        saved.save(Checkpoint(Measured(records[-1]["step"], seconds, records), {"w": np.zeros(1)}))
