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
    """Everyone's time as a multiple of the floor, in a loop, for every shape of the first dtype."""
    modes = list(dict.fromkeys(m["mode"] for m in measured))
    figure, axes = plotting.new_figure(len(modes))
    for ax, mode in zip(axes, modes, strict=True):
        rows = [m for m in measured if m["mode"] == mode and m["dtype"] == measured[0]["dtype"]]
        for number, name in enumerate(rows[0]["microseconds"]["in a loop"]):
            if name != "floor":
                times = [m["microseconds"]["in a loop"] for m in rows]
                colour = plotting.COLOURS[number % len(plotting.COLOURS)]
                line = "o--" if name == "PyTorch" else "o-"
                ax.plot([t[name] / t["floor"] for t in times], line, label=name, color=colour, alpha=0.8)
        ax.set_xticks(range(len(rows)), list(map(label, rows)), rotation=40, ha="right")
        ax.set(yscale="log", title=f"{mode}, {rows[0]['dtype']}: time / floor")
    axes[0].legend(fontsize=8)
    plotting.save_figure(figure, path)
