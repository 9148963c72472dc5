"""Figures: what is drawn, and that a file is whole or not there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from experiments.harness import plotting
from experiments.harness.errors import UserError

RECORDS = [
    {"step": 20, "seed": 0, "acc": 0.5},
    {"step": 10, "seed": 0, "acc": 0.25, "late": 9.0},
    {"step": 10, "seed": 1, "acc": 0.375},
    {"step": 10, "seed": 2, "acc": 0.125},
    {"step": 20, "seed": 1, "acc": 0.75},
]


@pytest.fixture
def axes() -> Iterator[Any]:
    _, axes = plotting.new_figure(1)
    yield axes[0]
    plt.close("all")


@pytest.mark.parametrize("error", [False, True])
def test_a_curve_is_the_mean_within_a_band_of_all_seeds(axes: Any, error: bool) -> None:
    plotting.curve(axes, RECORDS, "acc", label="mlp", colour="black", error=error, linestyle="--")
    (line,) = axes.lines
    sign, offset = (-1, 1) if error else (1, 0)
    np.testing.assert_array_equal(line.get_xdata(), [10, 20])
    np.testing.assert_allclose(line.get_ydata(), offset + sign * np.array([0.25, 0.625]))
    assert (line.get_label(), line.get_linestyle(), line.get_color()) == ("mlp", "--", "black")
    (band,) = axes.collections
    corners = {(x, y) for x, y in band.get_paths()[0].vertices}
    assert corners == {(x, offset + sign * y) for x, y in ((10, 0.125), (10, 0.375), (20, 0.5), (20, 0.75))}


def test_one_seed_has_no_band(axes: Any) -> None:
    plotting.curve(axes, [r for r in RECORDS if r["seed"] == 0], "acc", label="mlp", colour="black")
    assert len(axes.lines) == 1
    assert not axes.collections


def test_records_without_the_metric_are_left_out(axes: Any) -> None:
    plotting.curve(axes, RECORDS, "late", label="mlp", colour="black")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [10])


@pytest.mark.parametrize("columns", [1, 2])
def test_a_figure_is_a_whole_image_and_nothing_else(tmp_path: Path, columns: int) -> None:
    figure, axes = plotting.new_figure(columns)
    assert len(axes) == columns
    axes[0].set(yscale="log", ylim=(0.01, 1))
    plotting.percent_axis(axes[0])
    plotting.save_figure(figure, tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.width == pytest.approx(930 * columns, abs=1)
    assert not plt.get_fignums()


def test_colours_survive_and_the_file_is_small(tmp_path: Path) -> None:
    figure, (ax,) = plotting.new_figure(1)
    for number, colour in enumerate(plotting.COLOURS):
        plotting.band(ax, [0, 1], [np.array([number, number + 1])] * 2, label=colour, colour=colour, linewidth=6)
    plotting.save_figure(figure, tmp_path / "few.png")
    with Image.open(tmp_path / "few.png") as image:
        assert image.mode == "P"
        shown = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).astype(int)
    for colour in plotting.COLOURS:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(shown - wanted).max(-1).min() <= 4, colour
    assert (tmp_path / "few.png").stat().st_size < 40_000


def test_a_legend_below_hides_nothing() -> None:
    figure, (ax, other) = plotting.new_figure(2)
    height = figure.get_figheight()
    ax.plot([0, 1], [0, 1], label="a line")
    plotting.legend_below(figure, ax, title="of what")
    figure.canvas.draw()
    assert figure.get_figheight() > height
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a line"]
    assert legend.get_title().get_text() == "of what"
    for plot in (ax, other):
        assert legend.get_window_extent().y1 <= plot.get_tightbbox().y0
    plt.close(figure)


def test_lines_of_a_curve_differ_without_their_colours(axes: Any) -> None:
    for colour in plotting.COLOURS:
        plotting.curve(axes, RECORDS, "acc", label=colour, colour=colour)
    assert len({line.get_marker() for line in axes.lines}) == len(plotting.COLOURS)


def test_percentages_are_plain(axes: Any) -> None:
    axes.set(yscale="log", ylim=(0.004, 0.4))
    plotting.percent_axis(axes)
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert {"0.5 %", "1 %", "2 %", "3 %", "5 %", "10 %"} <= set(shown)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_the_old_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "curves.png"
    path.write_text("old")
    figure, _ = plotting.new_figure(1)

    def fail(partial: Path, **options: Any) -> None:
        Path(partial).write_text("half a fi")
        raise error

    monkeypatch.setattr(figure, "savefig", fail)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        plotting.save_figure(figure, path)
    if expected is UserError:
        assert str(raised.value) == (
            f"{path} could not be written (No space left on device); make room there, or name another --out."
        )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()
