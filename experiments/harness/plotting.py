"""Plots from result files; nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from experiments.harness.files import whole_file
from experiments.harness.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct also without colour vision (Okabe and Ito).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
# Beside the colour, for lines that lie close together.
MARKERS = dict(zip(COLOURS, "os^vDPX", strict=True))
# A page shows a figure at about half its size: in points, so that 8 are left.
FONTS: dict[Any, int] = {"font.size": 11, "axes.titlesize": 12, "figure.titlesize": 12, "legend.fontsize": 10}


def new_figure(columns: int) -> tuple[Any, Sequence[Any]]:
    """A figure with one row of plots."""
    return _figure(1, columns, min(6.2, 14.4 / columns), 4.4)


def new_grid(rows: int, columns: int, size: float) -> tuple[Any, Sequence[Any]]:
    """A figure with rows of square plots of so many inches, one row after the other."""
    return _figure(rows, columns, size, size)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update(FONTS)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.grid(visible=True, which="both", alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def save_figure(figure: Any, path: Path) -> None:
    """Write the figure, whole or not at all, with few colours: its file is half as large, and nobody sees it."""
    import matplotlib.pyplot as plt
    from PIL import Image

    try:
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=150)
            with Image.open(partial) as image:
                few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            few.save(partial, format="PNG", optimize=True, dpi=(150, 150))
    finally:
        plt.close(figure)


def doubt(figure: Any) -> None:
    """Under its title, which says what was predicted: that this run does not bear it out."""
    first = figure.axes[0]
    first.set_title(f"{first.get_title()}\n(not every prediction holds in this run)")


def percent_axis(ax: Axes) -> None:
    """Plain percentages on a logarithmic axis of fractions."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def plain_numbers(axis: Any) -> None:
    """Plain numbers on a logarithmic axis, few of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Any, ax: Axes, columns: int = 2, title: str | None = None) -> None:
    """The legend of one of the plots under all of them, where it hides nothing."""
    # Room for it, or the plots would become flat.
    figure.set_figheight(figure.get_figheight() + 0.8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=columns, title=title)


def dots(ax: Axes, series: dict[str, Sequence[float]], rows: Sequence[str]) -> None:
    """Everyone's values beside ours, which are 1: a row of dots for everything compared, and a line for ours.

    Args:
        ax: where to draw; the values go along its horizontal axis.
        series: the values of everyone else by name, one for every row.
        rows: their labels, from the top.
    """
    others, markers = (*COLOURS[1:], "#999999"), [*MARKERS.values()]
    for number, (name, values) in enumerate(series.items()):
        # A little below one another, so that all are seen.
        shift = 0.6 * ((number + 0.5) / len(series) - 0.5)
        places = [row + shift for row in range(len(rows))]
        ax.plot(values, places, markers[number % len(markers)], label=name, color=others[number % len(others)])
    ax.axvline(1, color=COLOURS[0], linewidth=2, label="jaxbn")
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")


def band(
    ax: Axes, places: Sequence[float], values: Sequence[np.ndarray], *, label: str, colour: str, **style: Any
) -> None:
    """The mean of the values at each place, with a band from the lowest to the highest of them.

    Few places, at most 20, are marked: also a single one is seen.

    Args:
        ax: where to draw.
        places: along the horizontal axis.
        values: at each place an array, one value for each seed.
        label: for the legend.
        colour: of line and band.
        **style: of the line.
    """
    marked: dict[str, Any] = {"marker": MARKERS.get(colour, "o"), "markersize": 5} if len(places) <= 20 else {}
    ax.plot(places, [v.mean() for v in values], label=label, color=colour, **marked | style)
    if any(len(v) > 1 for v in values):
        ax.fill_between(
            places, [v.min() for v in values], [v.max() for v in values], color=colour, alpha=0.18, linewidth=0
        )


def curve(
    ax: Axes, records: Sequence[Record], metric: str, *, label: str, colour: str, error: bool = False, **style: Any
) -> None:
    """The mean of a metric over seeds against the step, with a band from the lowest to the highest seed.

    Args:
        ax: where to draw.
        records: with `step`, `seed` and the metric; those without it are left out.
        metric: its name.
        label: for the legend.
        colour: of line and band.
        error: draw one minus the metric.
        **style: of the line.
    """
    by_step: dict[int, list[float]] = {}
    for record in records:
        if metric in record:
            by_step.setdefault(record["step"], []).append(1 - record[metric] if error else record[metric])
    steps = sorted(by_step)
    values = [np.asarray(by_step[step]) for step in steps]
    band(ax, steps, values, label=label, colour=colour, **style)


def heat_map(ax: Axes, accuracies: np.ndarray, rows: Sequence[Any], columns: Sequence[Any]) -> None:
    """Accuracies `[rows, columns]` as colours and numbers, the first row at the bottom."""
    ax.imshow(accuracies, vmin=0, vmax=1, origin="lower", aspect="auto", cmap="viridis")
    for (row, column), value in np.ndenumerate(accuracies):
        ax.text(column, row, f"{value:.3f}", ha="center", va="center", color="black" if value > 0.6 else "white")
    ax.set_xticks(range(len(columns)), [str(name) for name in columns])
    ax.set_yticks(range(len(rows)), [str(name) for name in rows])
    ax.grid(visible=False)
