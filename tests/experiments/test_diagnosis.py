"""The picture of a diagnosis shows every layer and every channel that can be drawn."""

import re

import numpy as np
import pytest
from matplotlib.axes import Axes

from experiments import diagnosis
from jaxbn.inference import diagnose
from tests.inference.nets_diagnose import BATCHES, apply, at, changed, settled
from tests.sources import ROOT

PAGE = ROOT / "docs" / "inference.md"


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn as points, by the name of the layer."""
    points = {}
    plot = Axes.plot

    def record(self, x, y, *args, **kwargs):
        points.setdefault(kwargs["label"], []).append((np.array(x), np.array(y)))
        return plot(self, x, y, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", record)
    return points


@pytest.mark.slow
def test_running_against_population_statistics_by_channel(tmp_path, drawn):
    report = diagnose(apply, settled(0.999, 700), BATCHES)
    diagnosis.draw(report, tmp_path / "diagnosis.png")
    assert (tmp_path / "diagnosis.png").stat().st_size > 10_000
    assert {name: [len(x) for x, _ in both] for name, both in drawn.items()} == {"one": [8, 8], "two": [5, 5]}
    (mean, running_mean), (std, running_std) = drawn["one"]
    one = report["one"]
    np.testing.assert_allclose(mean * std, one.mean)
    np.testing.assert_allclose(running_std, np.sqrt(one.running_var))
    # Half of the start is left: a slope of one half.
    np.testing.assert_allclose(np.polyfit(mean, running_mean, 1)[0], 1 - 0.999**700, rtol=0.05)


@pytest.mark.slow
def test_what_is_broken_is_left_out(tmp_path, drawn, monkeypatch):
    """Drawn as the docs show it."""
    broken = changed(changed(settled(), "one", mean=at(2, np.nan)), "two", var=at(0, -3))
    (block,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(block, {"report": diagnose(apply, broken, BATCHES)})
    assert {name: [len(x) for x, _ in both] for name, both in drawn.items()} == {"one": [7, 7], "two": [4, 4]}
    assert (tmp_path / "diagnosis.png").exists()
