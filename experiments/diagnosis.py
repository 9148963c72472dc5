"""The picture of a diagnosis: how far each batch norm is from its data, and its statistics beside theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.harness import plotting
from jaxbn.inference import DiagnosedNorm, DiagnosisReport


def draw(report: DiagnosisReport, path: Path) -> None:
    """Draw the gap of every layer, the most harmful on top, and running against population statistics by channel.

    What is left of an initial mean of 0 shows as a slope below 1, noise as a cloud, other data as a shift.

    Args:
        report: from `jaxbn.inference.diagnose`.
        path: of the picture, replaced if it is there.
    """
    # Whoever calls this draws more than this picture.
    with mpl.rc_context():
        _draw(report, path)


def _draw(report: DiagnosisReport, path: Path) -> None:
    figure, (gaps, means, stds) = plotting.new_figure(3)
    _draw_gaps(gaps, report)
    for number, norm in enumerate(report.norms):
        style: dict[str, Any] = {"color": plotting.COLOURS[number % len(plotting.COLOURS)], "label": norm.name}
        mean, running_mean, std, running_std = _by_channel(norm)
        means.plot(mean, running_mean, ".", **style)
        stds.plot(std, running_std, ".", **style)
    means.set(title="Means, in standard deviations of the data", xlabel="of the data", ylabel="running")
    stds.set(title="Standard deviations", xlabel="of the data", ylabel="running", xscale="log", yscale="log")
    for axis in (stds.xaxis, stds.yaxis):
        plotting.plain_numbers(axis)
    for ax in (means, stds):
        # Where both are equal.
        ax.axline((1, 1), (2, 2), color="#999999", linewidth=1, zorder=0)
    # More names than colours tell nothing apart.
    if len(report.norms) <= len(plotting.COLOURS):
        means.legend(fontsize="small")
    plotting.save_figure(figure, path)


def _draw_gaps(ax: Any, report: DiagnosisReport) -> None:
    rows = range(len(report.norms))
    ax.barh(rows, [norm.gap for norm in report.norms], color=plotting.COLOURS[0])
    for row, norm in zip(rows, report.norms, strict=True):
        ax.annotate(" ".join(norm.codes), (norm.gap, row), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(rows, [norm.name for norm in report.norms])
    ax.set_ylim(len(report.norms) - 0.5, -0.5)
    ax.margins(x=0.25)
    ax.set(title="Running statistics apart from the data", xlabel="standard deviations of the data")
    ax.grid(visible=False, axis="y")


def _by_channel(norm: DiagnosedNorm) -> list[np.ndarray]:
    """Means and standard deviations, of the data and running, of the channels that can be drawn."""
    with np.errstate(invalid="ignore"):
        mean, running_mean = (np.ravel(np.real(part)) for part in (norm.mean, norm.running_mean))
        std, running_std = (np.sqrt(np.ravel(part)) for part in (norm.var, norm.running_var))
        drawn = np.isfinite(mean) & np.isfinite(running_mean) & (std > 0) & np.isfinite(std) & np.isfinite(running_std)
    mean, running_mean, std, running_std = (part[drawn] for part in (mean, running_mean, std, running_std))
    return [mean / std, running_mean / std, std, running_std]
