"""The study of population statistics, on a few random images."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.harness import training
from experiments.harness.console import make_console
from experiments.studies.population import __main__ as study
from experiments.studies.population import measure
from experiments.tutorial import classifier, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_stand_in)
    sizes = {"SIZES": (64, 130, 1_000), "DRAWS": 2, "MANY": 40, "BATCHES": (10,), "DECAYS": (0.9,), "AVERAGED": 2}
    for name, value in (sizes | {"EVERY": 1}).items():
        monkeypatch.setattr(measure, name, value)
    stand_in.shrink(monkeypatch)


@pytest.mark.slow
def test_all_images_cost_nothing_in_whatever_order() -> None:
    data = classifier.on_device(*runs.all_examples(stand_in.load_stand_in()))
    experiment = Experiment([0, 1], 3, data, make_console())
    costs = measure.by_size(experiment)
    for cost in costs.values():
        assert cost.shape == (3, 4)
        # 130 images are all of them; one of 120 test images may be on the edge between two classes.
        assert np.abs(cost[1]).max() <= 100 / 120 + 1e-6
    assert np.abs(costs["dense"][0]).max() > 1


def test_whose_weights_and_statistics_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of states with the weights 0, 3 and 9; the mean of the last two is 6."""
    experiment: Any = Experiment([0], 3, None, make_console())  # type: ignore[arg-type]
    states = [training.TrainState(weights, "running", None) for weights in (0.0, 3.0, 9.0)]

    def recalibrated(_model: Any, state: training.TrainState, _images: Any, order: str = "layers") -> Any:
        return state._replace(extras=order)

    monkeypatch.setattr(experiment, "train", lambda *_, every=None, **__: states if every else states[-1:])
    monkeypatch.setattr(experiment, "recalibrated", recalibrated)
    monkeypatch.setattr(experiment, "scorer", lambda _: lambda state: (state.params, state.extras))
    assert measure.by_decay(experiment) == (
        ["1", "2", "3"],
        {
            "decay 0.9": [(0, "running"), (3, "running"), (9, "running")],
            "recalibrated on 40": [(0, "layers"), (3, "layers"), (9, "layers")],
        },
    )
    assert measure.by_batch(experiment) == {"decay 0.99": [(9, "running")], "recalibrated on 40": [(9, "layers")]}
    assert measure.of_averaged_weights(experiment) == {
        f"{name}: {weights}": expected
        for name in measure.NETS
        for weights, expected in {
            "last weights, its running averages": (9, "running"),
            "last weights, recalibrated": (9, "layers"),
            "averaged weights, old running averages": (6, "running"),
            'averaged weights, recalibrated by "pass"': (6, "pass"),
            'averaged weights, recalibrated by "layers"': (6, "layers"),
        }.items()
    }


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Measured above.
    monkeypatch.setattr(measure, "by_size", lambda _: dict.fromkeys(measure.NETS, np.full((3, 4), 0.5)))
    assert study.main(["--steps", "3", "--seeds", "2", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["population.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert np.asarray(summary["measured"]["cost"]["dense"]).shape == (3, 4)
    assert [len(verdict["values"]) for verdict in summary["verdicts"]] == [2, 2, 2]
    text = (tmp_path / "summary.md").read_text()
    assert text.count("\n| --- |") == 5
    assert "| 10 | " in text.split("Test accuracy by size of the training batches")[1]
    with Image.open(tmp_path / "population.png") as image:
        assert image.width > image.height > 400


def test_verdicts() -> None:
    def costs(dense_few: list[float], dense_thousand: list[float], images: list[float]) -> dict[str, np.ndarray]:
        none = [0.0] * 4
        return {
            "dense": np.asarray([dense_few, none, dense_thousand]),
            "convolutional": np.asarray([images, none, none]),
        }

    # Two draws of one seed, then two of the other.
    found = study.judge(costs([0.2, 0.4, 0.5, 0.3], [0.1, 0.3, 0.2, -0.5], [-0.3, -0.1, 0, 0]))
    assert [verdict.holds for verdict in found] == [True] * 3
    np.testing.assert_allclose([verdict.values for verdict in found], [[0.3, 0.2], [0.3, 0.4], [-0.2, 0]], atol=1e-12)
    found = study.judge(costs([0.2, 0.4, 0.1, 0.4], [0, 0, 0, 0.31], [0.5, 0.5, 0, 0]))
    assert [verdict.holds for verdict in found] == [False] * 3


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
