"""The figure of a finished experiment, from checkpoints made by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments import plot_results
from experiments.harness import plotting
from tests.experiments.measured import save_measured


def write(out: Path, name: str, accuracies: dict[int, list[float]], **others: float) -> None:
    records = [
        {"step": step, "seed": seed, "test_acc": value, **others}
        for step, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    save_measured(out / name, records)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Returns the axes of the figure that was drawn last, which it keeps open."""
    figures: list[Any] = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: (figures.append(figure), path.write_text("")))
    yield lambda: figures[-1].axes
    plt.close("all")


def test_every_model_has_its_curve_of_errors(tmp_path: Path, drawn: Callable[[], Any]) -> None:
    write(tmp_path, "conv", {500: [0.9, 0.8], 1_000: [0.95, 0.93]})
    write(tmp_path, "mlp", {500: [0.7]})
    assert plot_results.main(["--out", str(tmp_path)]) == 0
    (ax,) = drawn()
    assert ax.get_title() == "Error on all 10,000 test images, mean and range of 1 to 2 seeds"
    assert [line.get_marker() for line in ax.lines] == ["o", "s"]  # One evaluation is no line, but seen.
    assert [line.get_label() for line in ax.lines] == ["mlp", "conv"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.15, 0.06])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.3])


def test_conv_bn_is_shown_with_both_statistics_beside_the_tutorials_readings(
    tmp_path: Path, drawn: Callable[[], Any]
) -> None:
    write(tmp_path, "mlp-bn", {500: [0.9]})
    write(tmp_path, "conv-bn", {500: [0.5], 2_000: [0.9]}, test_batch_stats_acc=0.97)
    assert plot_results.main(["--out", str(tmp_path)]) == 0
    errors, modes = drawn()
    assert errors.get_title() == "Error on all 10,000 test images"
    running, batch, printed = modes.lines
    np.testing.assert_allclose(running.get_ydata(), [0.5, 0.9])
    np.testing.assert_allclose(batch.get_ydata(), [0.97, 0.97])
    # The tutorial's readings of conv-bn, up to the last step that was trained.
    np.testing.assert_array_equal(printed.get_xydata(), [[1_000, 0.578125], [2_000, 0.890625]])
    assert running.get_color() == errors.lines[1].get_color() != errors.lines[0].get_color()


@pytest.mark.slow
def test_a_whole_folder_is_drawn_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "conv-bn", {1: [0.1, 0.2]}, test_batch_stats_acc=0.3)
    write(tmp_path, "mlp", {1: [1.0]})
    (tmp_path / "curves.png").write_text("old")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("not of this experiment")
    # For other readers: whoever alters it alters no curve.
    (tmp_path / "mlp" / "metrics.jsonl").write_text("altered")
    assert plot_results.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr() == (f"Drawn: {tmp_path / 'curves.png'}\n", "")


def damaged(out: Path) -> None:
    write(out, "mlp", {1: [1.0]})
    shutil.rmtree(out / "mlp" / "checkpoints" / "1" / "measured")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda _: None, "`--out` must hold the results of an experiment, got {out} with none; run it first."),
        (damaged, "The checkpoint of step 1 in {out}/mlp/checkpoints is damaged ("),
    ],
    ids=["nothing", "damaged"],
)
def test_missing_or_damaged_results_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[[Path], None], words: str
) -> None:
    out = tmp_path / "results"
    prepare(out)
    assert plot_results.main(["--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: " + words.format(out=out))
    assert said.err.count("\n") == 1
    assert not (out / "curves.png").exists()
