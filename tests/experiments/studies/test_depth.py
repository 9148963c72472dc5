"""The study of depth on a few random images: its map, its tables, its mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from experiments.harness import training
from experiments.harness.console import make_console
from experiments.studies.depth import __main__ as depth
from experiments.studies.depth import measure
from experiments.tutorial import classifier, lessons, nets, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in

NORMS = dict(zip((False, True), depth.KINDS.values(), strict=True))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "load_kept", stand_in.load_stand_in)
    monkeypatch.setattr(measure, "STEPS", 2)
    stand_in.shrink(monkeypatch)


@pytest.mark.slow
def test_it_maps_depth_and_rate_with_and_without_batch_norm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LAYERS", 2)
    flags = ["--depths", "1", "--rates", "0.1", "1", "--steps", "3", "--seeds", "2", "--out", str(tmp_path)]
    assert depth.main(flags) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    settings = {"depths": [1], "rates": [0.1, 1.0], "steps": 3, "seed": 1_000, "seeds": 2}
    assert summary["settings"] == settings
    text = (tmp_path / "summary.md").read_text()
    for kind in depth.KINDS:
        accuracies = np.asarray(summary["measured"]["map"][kind])
        assert accuracies.shape == (1, 2, 2)
        # Of 120 test images, each counted once.
        np.testing.assert_allclose(accuracies * 120, np.round(accuracies * 120), atol=1e-4)
        rows = text.split(f"Test accuracy {kind}, by learning rate\n\n")[1].splitlines()[:3]
        assert rows[0] == "| hidden layers | 0.1 | 1 |"
        assert rows[2].startswith(f"| 1 | {accuracies[0, 0].mean():.4f} ± ")
    said = capsys.readouterr().out
    assert said.count("1 deep, with") == 2
    assert said.count("2 deep, N(0, 0.05), with") == 2
    assert "hidden layers" in said
    with Image.open(tmp_path / "depth.png") as image:
        assert image.width > image.height > 400


@pytest.mark.parametrize(("norm", "gain"), [(False, measure.GAIN), (True, 1.0)], ids=["without", "with"])
def test_what_each_layer_hands_on(norm: bool, gain: float) -> None:
    images = np.random.default_rng(0).uniform(size=(200, 28, 28)).astype(np.float32)
    signals = [measure.signal(measure.plain(NORMS[norm]), seed, images) for seed in range(3)]
    found = np.mean([(of[-1] / of[0]) ** (1 / 9) for of in signals])
    # Of 100 inputs the sum of squares varies by a fifth from layer to layer; what batch norm hands on does not.
    np.testing.assert_allclose(found, gain, rtol=1e-3 if norm else 0.1)


def test_verdicts() -> None:
    def holding(without: list[float], with_: list[float]) -> list[bool]:
        verdicts = depth.judge({measure.WITHOUT: np.asarray(without), measure.WITH: np.asarray(with_)})
        return [verdict.holds for verdict in verdicts]

    assert holding([0.1, 0.15], [0.93, 0.99]) == [True, True]
    # A single seed is enough.
    assert holding([0.1, 0.1501], [0.9299, 0.99]) == [False, False]


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
def test_every_rate_and_seed_trains_as_it_does_alone(norm: bool) -> None:
    model = nets.Deep(2, NORMS[norm])
    data = classifier.on_device(*runs.all_examples(stand_in.load_stand_in()))
    rates = (0.05, 0.5)
    got = measure.accuracies(Experiment([0, 1], 3, data, make_console()), model, "", rates)
    score = training.mean_score(classifier.scorer(model))
    for i, rate in enumerate(rates):
        problem = classifier.classification(model, optax.sgd(rate))
        state, _ = training.train(
            problem,
            training.init_state(problem, [0, 1]),
            data,
            lessons.training_batches([0, 1]),
            steps=3,
            evaluate_every=3,
            evaluate=lambda *_: {},
        )
        np.testing.assert_allclose(got[i], score(state, data, lessons.whole_test_set(2))["acc"], atol=1 / 120)
    assert len(np.unique(got)) > 1


@pytest.mark.parametrize(("norm", "count"), [(False, 784 * 100 + 100 * 100 + 200), (True, 784 * 100 + 100 * 100 + 400)])
def test_the_nets_differ_by_their_norms_alone(norm: bool, count: int) -> None:
    shapes = jax.eval_shape(
        lambda: nets.Deep(2, NORMS[norm]).init(jax.random.key(0), np.zeros((1, 28, 28)), train=False)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count + 1010


def test_the_best_rates_are_compared_seed_by_seed() -> None:
    cfg = depth.Config(depths=(4,), rates=(0.1, 1.0), seeds=2)
    found = {"without": np.array([[[0.5, 0.7], [0.1, 0.1]]]), "with": np.array([[[0.6, 0.6], [0.8, 0.98]]])}
    table = depth.best_rates(cfg, found)
    assert table.header == ["hidden layers", "without", "at rate", "with", "at rate", "difference"]
    assert table.rows == [["4", "0.6000 ± 0.1414", "0.1", "0.8900 ± 0.1273", "1", "+29.00 ± 1.00"]]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--depths"], "`--depths` must be numbers from 1 on"),
        (["--depths", "0"], "`--depths` must be numbers from 1 on"),
        (["--rates", "0"], "`--rates` must be numbers above 0"),
        (["--rates", "nan"], "`--rates` must be numbers above 0"),
        (["--steps", "0"], "`--steps` must be at least 1"),
        (["--seeds", "0"], "`--seeds` must be at least 1"),
        (["--width", "7"], "--width"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(depth, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    assert depth.main(["--out", str(tmp_path), *flags]) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)
