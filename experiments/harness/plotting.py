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


def new_figure(columns: int) -> tuple[Any, Sequence[Any]]:
    """A figure with one row of plots."""
    return _figure(1, columns, 6.2, 4.4)


def new_grid(rows: int, columns: int, size: float) -> tuple[Any, Sequence[Any]]:
    """A figure with rows of square plots of so many inches, one row after the other."""
    return _figure(rows, columns, size, size)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.grid(visible=True, which="both", alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def save_figure(figure: Any, path: Path) -> None:
    """Write the figure, whole or not at all."""
    import matplotlib.pyplot as plt

    try:
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=150)
    finally:
        plt.close(figure)


def percent_axis(ax: Axes) -> None:
    """Plain percentages on a logarithmic axis of fractions."""
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    ax.yaxis.set_minor_formatter(NullFormatter())


def plain_numbers(axis: Any) -> None:
    """Plain numbers on a logarithmic axis, few of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def dots(ax: Axes, series: dict[str, Sequence[float]], rows: Sequence[str]) -> None:
    """Everyone's values beside ours, which are 1: a row of dots for everything compared, and a line for ours.

    Args:
        ax: where to draw; the values go along its horizontal axis.
        series: the values of everyone else by name, one for every row.
        rows: their labels, from the top.
    """
    others = (*COLOURS[1:], "#999999")
    for number, (name, values) in enumerate(series.items()):
        # A little below one another, so that all are seen.
        shift = 0.6 * ((number + 0.5) / len(series) - 0.5)
        places = [row + shift for row in range(len(rows))]
        ax.plot(values, places, "os^vDPX"[number % 7], label=name, color=others[number % len(others)])
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

    Args:
        ax: where to draw.
        places: along the horizontal axis.
        values: at each place an array, one value for each seed.
        label: for the legend.
        colour: of line and band.
        **style: of the line.
    """
    ax.plot(places, [v.mean() for v in values], label=label, color=colour, **style)
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
    band(ax, steps, values, label=label, colour=colour, marker="o" if len(steps) == 1 else "", **style)


def heat_map(ax: Axes, accuracies: np.ndarray, rows: Sequence[Any], columns: Sequence[Any]) -> None:
    """Accuracies `[rows, columns]` as colours and numbers, the first row at the bottom."""
    ax.imshow(accuracies, vmin=0, vmax=1, origin="lower", aspect="auto", cmap="viridis")
    for (row, column), value in np.ndenumerate(accuracies):
        ax.text(column, row, f"{value:.3f}", ha="center", va="center", color="black" if value > 0.6 else "white")
    ax.set_xticks(range(len(columns)), [str(name) for name in columns])
    ax.set_yticks(range(len(rows)), [str(name) for name in rows])
    ax.grid(visible=False)
