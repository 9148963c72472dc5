"""Tables and a picture of what the bench of compiled programs has read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.harness import plotting
from experiments.harness.tables import Table, markdown

# Bytes of data from which on the worst ratio counts: what smaller data cost is the start of a kernel.
LARGE = 2**20


def decisive(layers: dict[str, Any]) -> str:
    """Cycles where the compiler estimates them, as the TPU's does, or the bytes."""
    return "cycles" if all(numbers["cycles"] for numbers in layers.values()) else "bytes"


def label(m: dict[str, Any]) -> str:
    """The shape and the dtype."""
    return "x".join(map(str, m["shape"])) + {"float32": " f32", "bfloat16": " bf16"}[m["dtype"]]


def tables(measured: list[dict[str, Any]]) -> str:
    """Markdown, for either mode: what we need over what the others need, and what everyone needs."""
    quantities: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
        "passes over the data": lambda n, m: f"{n['bytes'] / m['size']:.2f}",
        "temporary memory, as a multiple of the data": lambda n, m: f"{n['temporary'] / m['size']:.2f}",
        "kernels": lambda n, _: f"{n['kernels']}",
        "seconds to trace, lower and compile": lambda n, _: f"{sum(n['seconds']):.2f}",
    }
    found = []
    for mode in dict.fromkeys(m["mode"] for m in measured):
        rows = [m for m in measured if m["mode"] == mode]
        found.append(ratio_table(f"{mode}: {decisive(rows[0]['layers'])} of ours / others", rows))
        names = list(rows[0]["layers"])
        for title, cell in quantities.items():
            body = [[label(m), *(cell(m["layers"][name], m) for name in names)] for m in rows]
            found.append(Table(f"{mode}: {title}", ["data", *names], body))
    return markdown(found)


def ratio_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Ours, and ours as a part of everyone's, with the geometric mean and the worst of the larger data."""
    quantity, found = decisive(rows[0]["layers"]), ratios(rows)
    body = [
        [label(m), f"{m['layers']['jaxbn'][quantity]:.0f}", *(two(column[i]) for column in found.values())]
        for i, m in enumerate(rows)
    ]
    body.append(["geometric mean", "", *(two(geometric_mean(column)) for column in found.values())])
    large = [i for i, m in enumerate(rows) if m["size"] >= LARGE]
    if large:
        body.append(["worst of 1 MB or more", "", *(two(max(column[i] for i in large)) for column in found.values())])
    return Table(title, ["data", f"jaxbn, {quantity}", *found], body)


def ratios(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """By name of the others, what ours needs of what they need, for each row."""
    quantity = decisive(rows[0]["layers"])
    return {
        name: [m["layers"]["jaxbn"][quantity] / m["layers"][name][quantity] for m in rows]
        for name in rows[0]["layers"]
        if name != "jaxbn"
    }


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def two(ratio: float) -> str:
    return f"{ratio:.2f}"


def nets_table(net: str, found: dict[str, Any]) -> Table:
    """A row for every norm or form of the net."""
    heads = ["norm or form", "GB moved", "million cycles", "kernels", "temporary GB", "lines of HLO"]
    body = [
        [
            name,
            f"{n['bytes'] / 1e9:.3f}",
            f"{n['cycles'] / 1e6:.3f}" if n["cycles"] else "",
            f"{n['kernels']}",
            f"{n['temporary'] / 1e9:.3f}",
            f"{n['lines']}",
            *map(two, n["seconds"]),
        ]
        for name, n in found.items()
    ]
    return Table(f"A training step of {net}", [*heads, "s to trace", "s to lower", "s to compile"], body)


def draw(path: Path, measured: list[dict[str, Any]]) -> None:
    """What everyone needs as a multiple of what we need: a row of dots for every shape."""
    modes = list(dict.fromkeys(m["mode"] for m in measured))
    figure, axes = plotting.new_figure(len(modes))
    for ax, mode in zip(axes, modes, strict=True):
        rows = [m for m in measured if m["mode"] == mode]
        quantity = decisive(rows[0]["layers"])
        needed = [{name: n[quantity] for name, n in m["layers"].items()} for m in rows]
        names = [name for name in needed[0] if name != "jaxbn"]
        plotting.dots(ax, {name: [n[name] / n["jaxbn"] for n in needed] for name in names}, list(map(label, rows)))
        ax.set(xlabel=f"{quantity} / {quantity} of jaxbn", title=mode)
    axes[0].set_ylabel("data")
    plotting.legend_below(figure, axes[-1], 8)
    plotting.save_figure(figure, path)
