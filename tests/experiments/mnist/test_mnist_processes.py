"""The main program in two processes with two devices each: one run, on a few random images, as on one device."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from experiments.harness.processes.lines import CHATTER
from experiments.mnist import __main__ as mnist
from tests.experiments import stand_in
from tests.sources import ROOT

pytestmark = pytest.mark.several_devices

MODELS = ["mlp", "mlp-bn"]
STEPS = ["--steps", "4"]
TRAIN = ["--models", *MODELS, *STEPS]
RESUME = ["--models", "mlp-bn", *STEPS, "--resume"]
# Does one thing after the other, as if it were started anew for each.
PROCESS = """
import json, sys
import pytest
from experiments.harness import devices, program
from experiments.harness.checkpoint import Checkpoints
from experiments.harness.errors import UserError
from experiments.mnist import __main__ as mnist
from tests.experiments import stand_in

patch, join, joined = pytest.MonkeyPatch(), devices.join, []
patch.setattr(devices, "join", lambda *given: joined or joined.append(join(*given)))
stand_in.shrink(patch)

def load(data_dir, report):
    if data_dir is not None:
        raise UserError("`--data-dir` holds nothing.")
    report("loading")
    return stand_in.load_stand_in()

def full(*_):
    raise UserError("The disk is full.")

patch.setattr(mnist, "load_kept", load)
for name, args in json.loads(sys.argv[1]).items():
    if name == "full disk":
        patch.setattr(Checkpoints, "save", full)
    for stream in (sys.stdout, sys.stderr):
        print("BEGIN", name, file=stream, flush=True)
    try:
        status = mnist.main(args)
    except SystemExit as end:
        status = end.code
    print("END", status, flush=True)
program.leave(0)
"""


class Said(NamedTuple):
    """What a process said of one thing, and the status with which it would have ended."""

    out: str
    err: str
    status: int


def run_here(*args: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "load_kept", stand_in.load_stand_in)
        stand_in.shrink(patch)
        assert mnist.main(list(args)) == 0


def records(out: Path, model: str = "mlp-bn") -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / model / "metrics.jsonl").read_text().splitlines()]


def assert_close(got: Path, expected: Path, models: Sequence[str] = ("mlp-bn",)) -> None:
    for model in models:
        for a, b in zip(records(got, model), records(expected, model), strict=True):
            assert a == pytest.approx(b, rel=0, abs=1e-5)


def half(source: Path, target: Path) -> Path:
    """A copy of a finished run, as if it had been stopped between its two evaluations."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "mlp-bn" / "checkpoints" / "4")
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the results of each layout."""
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def one(folder: Path) -> Path:
    """The results of one device."""
    run_here("--out", str(folder / "one"), *TRAIN)
    return folder / "one"


MISTAKES = {
    "flags": "`--steps` must be the same in all processes, got 4 in process 0 and 5 in process 1.",
    "odd devices": "`--devices` must be a multiple of the 2 processes, got 3; give --devices 4.",
    "no file": "`--out` must be a folder that can be written, got {folder}/file (File exists); name another one.",
    "settings": (
        "`--resume` needs the settings of the earlier run in {folder}/two/mlp, whose steps was 4, got 5; give the "
        "same flags, or --overwrite to replace it, or another --out."
    ),
    "damaged": "`--resume` needs a checkpoint, but {folder}/damaged/mlp has none; bring back a copy, or begin anew ",
    "no data": "Process 1: `--data-dir` holds nothing.",
    "full disk": "The disk is full.",
}


@pytest.fixture(scope="module")
def two(folder: Path, one: Path) -> dict[str, tuple[Said, Said]]:
    """What two processes said of each thing that they did."""
    half(one, folder / "resumed")
    (folder / "file").touch()
    (folder / "damaged" / "mlp").mkdir(parents=True)
    (folder / "damaged" / "mlp" / "config.json").write_text("{")
    longer, resume = [*TRAIN[:-1], "5"], [*TRAIN, "--resume"]
    things: Any = {
        "whole": ("two", TRAIN, TRAIN),
        "resumed": ("resumed", RESUME, RESUME),
        "flags": ("unused", TRAIN, longer),
        "odd devices": ("unused", [*TRAIN, "--devices", "3"], [*TRAIN, "--devices", "3"]),
        "no file": ("file", TRAIN, TRAIN),
        "settings": ("two", [*longer, "--resume"], [*longer, "--resume"]),
        "damaged": ("damaged", resume, resume),
        "no data": ("unused", TRAIN, [*TRAIN, "--data-dir", "nowhere"]),
        "full disk": ("unused", TRAIN, TRAIN),
    }
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    flags = ["--distributed", "--coordinator-address", address, "--process-count", "2", "--process-id"]
    environment = {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    processes = []
    for number in (0, 1):
        # The others are to leave alone what is in this folder.
        own = {n: ["--out", str(folder / of[0]) if number == 0 else str(folder / "other")] for n, of in things.items()}
        args = {name: [*flags, str(number), *own[name], *of[1 + number]] for name, of in things.items()}
        files = [(folder / f"{stream}{number}").open("w") for stream in ("out", "err")]
        command = [sys.executable, "-c", PROCESS, json.dumps(args)]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=files[0], stderr=files[1])
        )
        for file in files:
            file.close()
    try:
        for process in processes:
            process.wait(timeout=600)
    finally:
        for process in processes:
            process.kill()
    said = []
    for number in (0, 1):
        out, err = (_by_thing((folder / f"{stream}{number}").read_text()) for stream in ("out", "err"))
        ends = {name: re.fullmatch(r"(.*)END (\d+)\n", out[name], re.DOTALL) for name in things if name in out}
        assert list(ends) == list(things), err
        assert all(ends.values()), err
        said.append([Said(end[1], err[name], int(end[2])) for name, end in ends.items() if end])
    return dict(zip(things, zip(*said, strict=True), strict=True))


def _by_thing(text: str) -> dict[str, str]:
    text = "".join(line for line in text.splitlines(keepends=True) if not CHATTER.search(line))
    return dict(part.split("\n", 1) for part in text.split("BEGIN ")[1:])


def test_the_numbers_are_those_of_one_device(folder: Path, one: Path, two: Any) -> None:
    assert_close(folder / "two", one, MODELS)


@pytest.mark.slow
def test_the_numbers_of_four_devices_are_those_of_one(folder: Path, one: Path) -> None:
    run_here("--out", str(folder / "four"), "--devices", "4", *TRAIN)
    assert_close(folder / "four", one, MODELS)


@pytest.mark.slow
def test_the_first_process_alone_writes_and_speaks(folder: Path, one: Path, two: Any) -> None:
    assert [(said.err, said.status) for said in two["whole"]] == [("", 0), ("", 0)]
    assert two["whole"][1].out == ""
    lines = two["whole"][0].out.splitlines()
    assert lines.count("loading") == 1
    assert sum(line.startswith("STEP 4: ") for line in lines) == len(MODELS)
    assert not (folder / "other").exists()
    assert not (folder / "unused" / "summary.md").exists()
    for name in ("", *MODELS, "mlp-bn/checkpoints"):
        names = [sorted(path.name for path in (out / name).iterdir()) for out in (folder / "two", one)]
        assert names[0] == names[1]


@pytest.mark.slow
def test_they_go_on_from_what_one_device_left(folder: Path, one: Path, two: Any) -> None:
    assert [(said.err, said.status) for said in two["resumed"]] == [("", 0), ("", 0)]
    assert two["resumed"][0].out.count("going on from step 2") == 1
    assert_close(folder / "resumed", one)
    # What was there is kept to the last digit.
    assert records(folder / "resumed")[0] == records(one)[0]


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["1", "4"])
def test_one_process_goes_on_from_what_they_left(
    folder: Path, one: Path, two: Any, devices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = half(folder / "two", folder / f"by {devices}")
    run_here("--out", str(out), "--devices", devices, *RESUME)
    assert capsys.readouterr().out.count("going on from step 2") == 1
    assert_close(out, one)
    assert records(out)[0] == records(folder / "two")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_both_and_the_first_says_it(folder: Path, two: Any, name: str) -> None:
    first, other = two[name]
    assert (first.status, other) == (2, Said("", "", 2))
    assert first.err.startswith("error: " + MISTAKES[name].format(folder=folder))
    assert len(first.err.splitlines()) == 1
