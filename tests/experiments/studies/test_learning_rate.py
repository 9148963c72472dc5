"""The study of the largest usable learning rate, on images that are learned in 50 steps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import training
from experiments.harness.console import make_console
from experiments.studies import learning_rate as study
from experiments.tutorial import classifier, nets, runs
from experiments.tutorial.experiment import Experiment
from tests.experiments import stand_in
from tests.tolerances import assert_close

SWEEPS = {
    "without batch norm": {0.5: np.array([0.95, 0.93]), 1.0: np.array([0.9, 0.1]), 2.0: np.array([0.1, 0.1])},
    "with batch norm": {0.5: np.array([0.97, 0.97]), 1.0: np.array([0.97, 0.96]), 2.0: np.array([0.96, 0.9])},
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "load_kept", stand_in.load_prototypes)
    stand_in.shrink(monkeypatch)


def experiment(steps: int) -> Experiment:
    data = classifier.on_device(*runs.all_examples(stand_in.load_prototypes()))
    return Experiment([0, 1], steps, data, make_console())


@pytest.mark.slow
def test_batch_norm_bears_four_times_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's net, 50 steps of 20 images, two seeds, and no more rates than it takes to show it."""
    monkeypatch.setattr(training, "STEPS_PER_DISPATCH", 50)
    of_steps = experiment(50)
    for kind, rates, expected in (
        ("without batch norm", (0.125, 0.5), [True, False]),
        ("with batch norm", (0.5, 2.0), [True, True]),
    ):
        model = nets.Deep(study.LAYERS, study.KINDS[kind])
        accuracies = of_steps.scorer(model)(of_steps.train_at_rates(model, "", rates)).reshape(2, 2)
        assert [bool(least >= 90) for least in accuracies.min(1)] == expected


@pytest.mark.slow
def test_every_rate_and_seed_trains_as_it_does_alone() -> None:
    model, of_three = nets.Deep(1, study.KINDS["with batch norm"]), experiment(3)
    got = of_three.train_at_rates(model, "", (0.05, 0.5))
    (alone,) = of_three.train(model, "", rate=0.5)
    for name in ("kernel", "bias"):
        slow, fast = np.split(np.asarray(got.params["Dense_1"][name]), 2)
        assert_close(fast, np.asarray(alone.params["Dense_1"][name]), 1e-6)
        assert np.abs(fast - slow).max() > 1e-3


@pytest.mark.parametrize(("edge", "finest"), [(0.7, 0.66), (1.0, 1.0), (0.1, None), (16.0, None)])
def test_steps_are_fine_at_the_edge(edge: float, finest: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[float, ...]]()

    def train_at_rates(_model: nets.Deep, _name: str, rates: tuple[float, ...]) -> tuple[float, ...]:
        asked.append(rates)
        return rates

    of_any = experiment(1)
    monkeypatch.setattr(of_any, "train_at_rates", train_at_rates)
    monkeypatch.setattr(of_any, "scorer", lambda _: lambda rates: 100.0 * (np.repeat(rates, 2) <= edge))
    found = study.sweep(of_any, nets.Deep(1), "")
    assert len(asked) == (1 if finest is None else 2)
    if finest is not None:
        assert abs(study.largest_usable(found) - finest) < 0.01
        rates = sorted(found)
        assert rates[rates.index(study.largest_usable(found)) + 1] <= 1.15 * study.largest_usable(found)


def test_a_rate_is_usable_if_it_is_for_every_seed() -> None:
    assert [study.largest_usable(of_kind) for of_kind in SWEEPS.values()] == [0.5, 2.0]
    (verdict,) = study.judge(SWEEPS)
    assert (verdict.values, verdict.holds) == ([4.0], True)
    worse = {**SWEEPS, "with batch norm": {1.0: np.array([0.95]), 2.0: np.array([0.89])}}
    assert not study.judge(worse)[0].holds
    assert not study.judge({**SWEEPS, "with batch norm": {1.0: np.array([np.nan])}})[0].holds


@pytest.mark.slow
def test_a_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = list[int]()

    def sweeps(of: Experiment, *_: object) -> dict[str, study.Sweep]:
        steps.append(of.steps)
        return SWEEPS

    monkeypatch.setattr(study, "sweeps", sweeps)
    assert study.main(["--out", str(tmp_path)]) == 0
    assert steps == [1_500, 1_000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["learning_rate.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["measured"]["He"]["with batch norm"]["2"] == [0.96, 0.9]
    text = (tmp_path / "summary.md").read_text()
    assert "| 1 | 0.5000, 0.1000 to 0.9000 | 0.9650, 0.9600 to 0.9700 |" in text
    assert "0.5 without batch norm, 2 with it, a ratio of 4.00" in text


def test_a_mistake_is_one_line_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    assert study.main(["--out", str(tmp_path), "--steps", "0"]) == 2
    assert re.fullmatch(r"error: `--steps` must be at least 1, got 0[^\n]*\n", capsys.readouterr().err)
