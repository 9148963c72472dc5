"""Tables and a picture of what the bench of the op has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import plotting
from experiments.harness.tables import Table, markdown


def tables(measured: list[dict[str, Any]]) -> str:
    """Markdown, for every mode and dtype: times, and temporary memory."""
    found = []
    for mode, dtype in dict.fromkeys((m["mode"], m["dtype"]) for m in measured):
        rows = [m for m in measured if (m["mode"], m["dtype"]) == (mode, dtype)]
        for way in ("in a loop", "one by one"):
            found.append(times_table(f"{mode}, {dtype}, {way}: times of others / ours", rows, way))
        found.append(memory_table(f"{mode}, {dtype}: temporary memory, as a multiple of the data", rows))
    return markdown(found)


def times_table(title: str, rows: list[dict[str, Any]], way: str) -> Table:
    """Microseconds of ours, and everyone's time as a multiple of it."""
    names = [name for name in rows[0]["microseconds"][way] if name != "jaxbn"]
    body, ratios = [], []
    for m in rows:
        times = m["microseconds"][way]
        ratios.append([times[name] / times["jaxbn"] for name in names])
        body.append([label(m), f"{times['jaxbn']:.0f}", *(f"{r:.2f}" for r in ratios[-1])])
    means = np.exp(np.mean(np.log(ratios), 0))
    body.append(["geometric mean", "", *(f"{r:.2f}" for r in means)])
    return Table(title, ["data", "jaxbn, µs", *names], body)


def memory_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """What the compiled call needs beside its arguments and results."""
    names = list(rows[0]["memory"])
    body = [[label(m), *(f"{m['memory'][name]:.2f}" for name in names)] for m in rows]
    return Table(title, ["data", *names], body)


def label(m: dict[str, Any]) -> str:
    """The shape."""
    return "x".join(map(str, m["shape"]))


def draw(path: Path, measured: list[dict[str, Any]]) -> None:
    """Everyone's time as a multiple of ours, in a loop: a row of dots for every shape of the first dtype."""
    modes = list(dict.fromkeys(m["mode"] for m in measured))
    figure, axes = plotting.new_figure(len(modes))
    for ax, mode in zip(axes, modes, strict=True):
        rows = [m for m in measured if m["mode"] == mode and m["dtype"] == measured[0]["dtype"]]
        times = [m["microseconds"]["in a loop"] for m in rows]
        names = [name for name in times[0] if name not in ("jaxbn", "floor")]
        plotting.dots(ax, {name: [t[name] / t["jaxbn"] for t in times] for name in names}, list(map(label, rows)))
        ax.set(xlabel="time / time of jaxbn", title=f"{mode}, {rows[0]['dtype']}")
    axes[0].set_ylabel("data")
    plotting.legend_below(figure, axes[-1], 8)
    plotting.save_figure(figure, path)
