"""One of two processes is killed, or stopped; with --resume, the results are those of an undisturbed run."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.harness.processes import attendant
from tests.sources import ROOT

pytestmark = pytest.mark.slow

EVERY = 10
JOB = ["-m", "tests.experiments.mnist.stand_in_job", "--models", "mlp-bn", "--steps", "40", "--float64"]


def start(out: Path, *flags: str, pause: float = 0.3) -> subprocess.Popen[str]:
    environment = {
        "PAUSE": str(pause),
        "EVALUATE_EVERY": str(EVERY),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
    }
    # Attended from the start, a process is spared the imports that are needed to read the flags.
    python = attendant.COMMAND if "--distributed" in flags else [sys.executable]
    return subprocess.Popen(
        [*python, *JOB, "--out", str(out), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def start_two(out: Path, *flags: str, pause: float = 0.3) -> list[subprocess.Popen[str]]:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    common = ("--distributed", "--coordinator-address", address, "--process-count", "2", *flags)
    return [start(out, *common, "--process-id", str(p), pause=pause) for p in (0, 1)]


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """The status and what was said, of each."""
    try:
        said = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *of) for process, of in zip(processes, said, strict=True)]


def records(out: Path) -> list[dict[str, Any]]:
    path = out / "mlp-bn" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stop(
    processes: list[subprocess.Popen[str]], number: int, *which: int, later: float = 0
) -> list[tuple[int, str, str]]:
    """Send a signal to some as soon as they are about to train, or some seconds later."""
    assert processes[0].stdout is not None
    while (line := processes[0].stdout.readline()) and "parameters, " not in line:
        pass
    time.sleep(later)
    for process in which:
        processes[process].send_signal(number)
    return ends(processes)


def last_checkpoint(out: Path) -> int:
    return max((int(path.name) for path in out.glob("mlp-bn/checkpoints/[0-9]*")), default=0)


def bytes_of(out: Path) -> dict[str, bytes]:
    """What the last checkpoint and the metrics hold."""
    import orbax.checkpoint as ocp

    folder = out / "mlp-bn" / "checkpoints" / "40" / "tree"
    tree = ocp.StandardCheckpointer().restore(folder.resolve())["state"]
    leaves = {str(i): np.asarray(leaf).tobytes() for i, leaf in enumerate(jax.tree.leaves(tree))}
    return {"metrics": (out / "mlp-bn" / "metrics.jsonl").read_bytes(), **leaves}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("death")


@pytest.fixture(scope="module")
def killed(folder: Path) -> dict[str, Any]:
    """An undisturbed run, and one whose process 1 is first stopped by a signal, then killed after an evaluation."""
    undisturbed = start_two(folder / "undisturbed")
    stopped = stop(start_two(folder / "disturbed", pause=2), signal.SIGTERM, 1)
    kept = last_checkpoint(folder / "disturbed")
    disturbed = start_two(folder / "disturbed", "--resume")
    while not records(folder / "disturbed"):
        assert disturbed[0].poll() is None, ends([*undisturbed, *disturbed])
        time.sleep(0.1)
    pid = disturbed[1].pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    when = time.monotonic()
    said = ends(disturbed)
    seconds = time.monotonic() - when
    shutil.copytree(folder / "disturbed", folder / "by one")
    seen = {"undisturbed": ends(undisturbed), "disturbed": said, "seconds": seconds}
    return {**seen, "stopped": stopped, "kept": kept}


def test_both_end_with_a_line_that_names_the_last_checkpoint(folder: Path, killed: dict[str, Any]) -> None:
    print(f"ended after {killed['seconds']:.1f} s")
    assert killed["seconds"] < 60
    first, second = killed["disturbed"]
    assert (first[0], second[0]) == (75, 75)
    step = records(folder / "by one")[-1]["step"]
    last = first[2].splitlines()[-1]
    assert last.startswith("error: process 1 of 2 is gone: no sign of life since ")
    assert last.endswith(f"; the last checkpoint of mlp-bn is of step {step}: the same command with --resume goes on.")
    assert second[2].startswith("error: process 1 of 2 was ended by SIGKILL at ")
    assert "Traceback" not in first[2] + second[2]


def test_resumed_by_two_it_is_the_undisturbed_run_to_the_last_bit(folder: Path, killed: dict[str, Any]) -> None:
    assert [end[0] for end in killed["undisturbed"]] == [0, 0]
    assert len(records(folder / "disturbed")) < 40 / EVERY
    resumed = ends(start_two(folder / "disturbed", "--resume"))
    assert [(end[0], end[2]) for end in resumed] == [(0, ""), (0, "")]
    assert "going on from step " in resumed[0][1]
    assert bytes_of(folder / "disturbed") == bytes_of(folder / "undisturbed")


def test_a_signal_to_the_one_that_does_not_write_keeps_the_last_dispatch(killed: dict[str, Any]) -> None:
    (first, other), kept = killed["stopped"], killed["kept"]
    assert 0 < kept < EVERY
    reason = "error: process 1 of 2 was stopped by its user"
    way_on = f"the last checkpoint of mlp-bn is of step {kept}: the same command with --resume goes on."
    assert (first[0], first[2]) == (75, f"{reason}; {way_on}\n")
    assert other[0] == 128 + signal.SIGTERM
    assert other[2].startswith("\nStopped. What was finished is kept; to go on: ")
    assert f"going on from step {kept}\n" in killed["disturbed"][0][1]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "which"),
    [(signal.SIGINT, (0,)), (signal.SIGINT, (1,)), (signal.SIGTERM, (0, 1)), (signal.SIGHUP, (0, 1))],
)
def test_a_signal_to_one_or_to_all_loses_nothing(
    folder: Path, killed: dict[str, Any], tmp_path: Path, number: int, which: tuple[int, ...]
) -> None:
    shutil.copytree(folder / "cache", tmp_path / "cache")
    # In the second interval between evaluations, unless the machine is busy.
    said = stop(start_two(tmp_path / "out", pause=0.4), number, *which, later=3)
    kept = last_checkpoint(tmp_path / "out")
    print([end[0] for end in said], kept)
    for process, (status, _, err) in enumerate(said):
        if process in which:
            assert status == 128 + number
            assert err.startswith("\nStopped. What was finished is kept; to go on: ")
        else:
            reason = f"error: process {which[0]} of 2 was stopped by its user"
            way_on = f"the last checkpoint of mlp-bn is of step {kept}: the same command with --resume goes on."
            assert (status, err) == (75, f"{reason}; {way_on}\n")
    resumed = ends(start_two(tmp_path / "out", "--resume", pause=0))
    assert [(end[0], end[2]) for end in resumed] == [(0, ""), (0, "")]
    assert bytes_of(tmp_path / "out") == bytes_of(folder / "undisturbed")


def test_resumed_by_one_it_is_the_undisturbed_run_to_rounding(folder: Path, killed: dict[str, Any]) -> None:
    ((status, out, err),) = ends([start(folder / "by one", "--resume")])
    assert (status, err) == (0, "")
    assert "going on from step " in out
    for a, b in zip(records(folder / "by one"), records(folder / "undisturbed"), strict=True):
        assert a == pytest.approx(b, rel=0, abs=1e-5)
