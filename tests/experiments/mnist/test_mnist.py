"""The main program on a few random images: its lines and files, and a way back after Ctrl-C and SIGKILL."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from experiments.harness import jobs, training
from experiments.mnist import __main__ as mnist
from experiments.tutorial import runs
from tests.experiments import stand_in
from tests.sources import ROOT

MODELS = ["mlp-bn", "mlp", "conv-bn", "conv"]
STEPS, SEEDS = "5", "2"


def main(out: Path, *args: str) -> int:
    return mnist.main(["--out", str(out), *args])


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Makes a run a matter of seconds."""
    patch.setattr(mnist, "load_kept", stand_in.load_stand_in)
    patch.setattr(mnist, "PRINT_EVERY", 4)
    stand_in.shrink(patch)


def metrics(out: Path, model: str) -> bytes:
    return (out / model / "metrics.jsonl").read_bytes()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns the folder and the output of an unbroken run of all models."""
    out, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        shrink(patch)
        assert main(out, "--steps", STEPS, "--seeds", SEEDS) == 0
    return out, said.getvalue()


@pytest.mark.slow
def test_all_models_print_the_tutorials_lines(whole: tuple[Path, str]) -> None:
    number = r"\d+\.\d{6}"
    step = rf"STEP (\d+): train_loss: {number} train_acc: {number} test_loss: {number} test_acc: {number}"
    blocks = re.split(r"\n(?=[a-z-]+: [\d,]+ parameters)", whole[1])[1:]
    assert [block.split(":")[0] for block in blocks] == MODELS
    for block in blocks:
        lines = block.splitlines()
        assert [re.fullmatch(step, line)[1] for line in lines[1:3]] == ["4", "5"]
        assert lines[3:5] == ["Train Done!", "-" * 30]
        names = ["Train loss", "Train accuracy", "Test loss", "Test accuracy"]
        assert all(re.fullmatch(f"{name}: {number}", line) for name, line in zip(names, lines[5:9], strict=True))
    assert "\x1b" not in whole[1]


@pytest.mark.slow
def test_all_files_are_there(whole: tuple[Path, str]) -> None:
    out, _ = whole
    assert sorted(p.name for p in out.iterdir()) == sorted([*MODELS, "curves.png", "summary.json", "summary.md"])
    summary = json.loads((out / "summary.json").read_text())["models"]
    assert list(summary) == MODELS
    for name in MODELS:
        records = [json.loads(line) for line in metrics(out, name).splitlines()]
        assert [(r["step"], r["seed"]) for r in records] == [(s, n) for s in (2, 4, 5) for n in (0, 1)]
        assert summary[name]["test_acc"] == [r["test_acc"] for r in records[-2:]]
        assert ("test_batch_stats_acc" in records[0]) == name.endswith("bn")
        # Of 120 and of 130 examples, each counted once.
        for hits in (n * record[m] for record in records[-2:] for m, n in (("test_acc", 120), ("train_acc", 130))):
            assert hits == pytest.approx(round(hits), abs=1e-9)


@pytest.mark.slow
def test_what_is_chosen_on_accelerators_trains_alike(
    whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert main(tmp_path, "--steps", STEPS, "--seeds", SEEDS) == 0
    for name in MODELS:
        got, expected = ([json.loads(line) for line in metrics(o, name).splitlines()] for o in (tmp_path, whole[0]))
        for a, b in zip(got, expected, strict=True):
            assert a == pytest.approx(b, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_settings_are_the_same_in_every_process(name: str) -> None:
    settings = mnist.settings_of(name, mnist.Config())
    assert not re.search(r"0x[0-9a-f]{4}", json.dumps(settings))
    assert json.loads(json.dumps(settings)) == settings


def test_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert main(tmp_path, "--models", "mlp", "--steps", "1") == 2
    assert re.fullmatch(r"error: [^\n]* could not be written \(No space[^\n]*--out\.\n", capsys.readouterr().err)


@pytest.mark.slow
def test_training_that_goes_bad_ends_with_step_model_and_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LEARNING_RATE", 1e38)
    assert main(tmp_path, "--models", "mlp-bn", "--steps", STEPS) == 2
    said = capsys.readouterr().err
    words = (
        r"error: `mlp-bn` can't go on: seed 0 has no finite \w+ at step 2: BatchNorm_0 has [^\n]*; no state was good, "
    )
    assert re.fullmatch(words + r"look at the data and the learning rate.\n", said), said


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_resume_completes_it(
    whole: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def stop(evaluation: training.Evaluation, *_: Any) -> None:
        told.append(evaluation.step)
        if told == [2, 4, 5, 2]:
            raise KeyboardInterrupt

    args = ["--models", "mlp-bn", "mlp", "--steps", STEPS, "--seeds", SEEDS]
    monkeypatch.setattr(mnist, "print_lines", stop)
    # One after the other, so that it is known which run is finished then.
    monkeypatch.setattr(jobs, "LANES", 1)
    assert main(tmp_path, *args) == 130
    assert capsys.readouterr().err.strip() == (
        f"Stopped. What was finished is kept; to go on: python -m experiments.mnist --out {tmp_path} {' '.join(args)} "
        "--resume"
    )
    assert list(json.loads((tmp_path / "summary.json").read_text())["models"]) == ["mlp-bn"]
    assert metrics(whole[0], "mlp").startswith(metrics(tmp_path, "mlp"))
    assert len(metrics(tmp_path, "mlp").splitlines()) == 2
    assert main(tmp_path, *args, "--resume") == 0
    assert all(metrics(tmp_path, name) == metrics(whole[0], name) for name in ("mlp-bn", "mlp"))
    assert list(json.loads((tmp_path / "summary.json").read_text())["models"]) == ["mlp-bn", "mlp"]


@pytest.mark.slow
def test_a_killed_run_is_completed_by_another_process(whole: tuple[Path, str], tmp_path: Path) -> None:
    args = ["--out", str(tmp_path), "--models", "mlp-bn", "--steps", STEPS, "--seeds", SEEDS]
    code = f"""
import os, signal, pytest
from experiments.mnist import __main__ as mnist
from tests import conftest
from tests.experiments import stand_in
patch = pytest.MonkeyPatch()
patch.setattr(mnist, "load_kept", stand_in.load_stand_in)
stand_in.shrink(patch)
mnist.print_lines = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
mnist.main({args})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(metrics(tmp_path, "mlp-bn").splitlines()) == 2
    assert mnist.main([*args, "--resume"]) == 0
    assert metrics(tmp_path, "mlp-bn") == metrics(whole[0], "mlp-bn")
