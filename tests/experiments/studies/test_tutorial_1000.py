"""The study of the tutorial's reading at step 1,000, on a few random images."""

import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from experiments.harness import training
from experiments.harness.seeds import unstack
from experiments.studies.tutorial_1000 import __main__ as study
from experiments.studies.tutorial_1000 import measure
from experiments.tutorial import classifier, lessons, nets, runs
from jaxbn.inference import recalibrate
from tests.experiments import stand_in
from tests.tolerances import assert_close

SEEDS = [0, 1]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_stand_in)
    monkeypatch.setattr(study, "TUTORIAL", {2: 0.05})
    for name, value in {"READ_AT": 2, "RECALIBRATION": 20}.items():
        monkeypatch.setattr(measure, name, value)
    stand_in.shrink(monkeypatch)


def state_with(kinds: dict[str, tuple[float, float]]) -> training.TrainState:
    stats = {kind: {"mean": np.full(3, mean), "var": np.full(3, var)} for kind, (mean, var) in kinds.items()}
    return training.TrainState({}, {"batch_stats": {"layer": stats}}, ())


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_without_the_start_equal_batches_leave_their_own_statistics(steps: int) -> None:
    held = measure.MOMENTUM**steps
    state = state_with({measure.OWN: ((1 - held) * 3, held + (1 - held) * 5)})
    own = measure.with_statistics(state, measure.DEBIASED, steps).extras["batch_stats"]["layer"][measure.OWN]
    np.testing.assert_allclose(own["mean"], 3, rtol=1e-9)
    np.testing.assert_allclose(own["var"], 5, rtol=1e-9)


def test_other_statistics_take_the_place_of_its_own_and_stay() -> None:
    state = state_with({measure.OWN: (1, 2), "warmed up": (3, 4)})
    stats = measure.with_statistics(state, "warmed up", 5).extras["batch_stats"]["layer"]
    assert [stats[kind]["var"][0] for kind in (measure.OWN, "warmed up")] == [4, 4]
    assert state.extras["batch_stats"]["layer"][measure.OWN]["var"][0] == 2


@pytest.mark.slow
def test_memories_have_no_part_in_training_and_seeds_are_recalibrated_each() -> None:
    data = classifier.on_device(*runs.all_examples(stand_in.load_stand_in()))
    states = []
    for model in (nets.ConvNet(runs.SLIM_NORM), nets.ConvNet(measure.Remembering)):
        problem = classifier.classification(model, optax.sgd(0.1))
        start = training.init_state(problem, SEEDS)
        batches = lessons.training_batches(SEEDS)
        state, _ = training.train(problem, start, data, batches, steps=3, evaluate_every=3, evaluate=lambda *_: {})
        states.append(state)
    plain, remembering = (jax.tree.map(np.asarray, state) for state in states)
    for layer in ("Dense_0", "CellConv_0", "CellConv_1"):
        assert_close(remembering.params[layer], plain.params[layer], 1e-6)
    own = remembering.extras["batch_stats"]["Remembering_0"][measure.OWN]
    assert_close(own["var"], plain.extras["batch_stats"]["BatchNorm_0"]["var"], 1e-6)

    indices = lessons.consecutive(2, 10, 30)
    got = unstack(measure.recalibrator(model)(data, 0, states[1], indices))
    for before, after in zip(unstack(states[1]), got, strict=True):
        images = data.images[indices[0]].astype("float32") / 255
        apply = functools.partial(model.apply, train=False)
        expected, _ = recalibrate(apply, {"params": before.params, **before.extras}, images)
        assert_close(after.extras["batch_stats"], jax.tree.map(np.asarray, expected["batch_stats"]), 1e-6)


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--steps", "4", "--seeds", "2", "--out", str(tmp_path)]) == 0
    names = ["summary.json", "summary.md", "tutorial_1000.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["measured"]["steps"], summary["settings"]["seed"]) == ([2, 4], 1_000)
    for accuracies in summary["measured"]["test_acc"].values():
        # Of 120 test images, each counted once.
        np.testing.assert_allclose(np.asarray(accuracies) * 120, np.round(np.asarray(accuracies) * 120), atol=1e-4)
    assert set(summary["measured"]["test_acc"]) == set(measure.KINDS)
    said = capsys.readouterr().out
    assert said.count("holds") + said.count("FAILS") == 4
    assert "Step 2, seed 1000:" in said
    with Image.open(tmp_path / "tutorial_1000.png") as image:
        assert image.width > image.height > 400


def test_verdicts() -> None:
    read = {measure.OWN: [90.0, 95.0], measure.DEBIASED: [98.0, 97.5], measure.RECALIBRATED: [98.0, 98.0]}
    read[measure.TEST_SET] = [98.25, 98.125]
    found = study.judge({kind: np.asarray(values) for kind, values in read.items()})
    assert [verdict.values for verdict in found] == [[8, 3], [8, 3], [0, 0.5], [0.25, 0.125]]
    assert all(verdict.holds for verdict in found)
    worse = {**read, measure.OWN: [98.0, 98.0], measure.DEBIASED: [98.0, 95.5], measure.TEST_SET: [98.5, 98.0]}
    assert not any(v.holds for v in study.judge({kind: np.asarray(values) for kind, values in worse.items()}))


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--steps", "1"], "`--steps` must be at least 2"), (["--seeds", "0"], "`--seeds` must be at least 1")],
)
def test_a_mistake_is_one_line_before_any_work(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    assert study.main(["--out", str(tmp_path), *flags]) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)
