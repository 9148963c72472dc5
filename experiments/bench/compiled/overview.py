"""All targets side by side, from the files that earlier runs have left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.bench.compiled.report import decisive, geometric_mean, ratios, two
from experiments.harness import files
from experiments.harness.tables import Table

TARGETS = {"tpu-v5e": "TPU v5e", "tpu-v6e": "TPU v6e", "h100": "H100"}
MODES = {"forward": "forward", "forward+backward": "forward and backward"}
WORDS = {"cycles": "estimated cycles", "bytes": "bytes moved"}
RESNETS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
# Of a net: the name of a column, and by how much the number is divided.
COLUMNS = {"cycles": ("million cycles", 1e6), "bytes": ("GB moved", 1e9), "kernels": ("kernels", 1)}


def overview(out: Path) -> list[Table]:
    """The layers, the ResNets and the tutorial's nets, as far as their files are there.

    Args:
        out: the folder with one folder per target.
    """
    layers, nets = (
        {target: _measured(out / target / f"{name}.json") for target in TARGETS} for name in ("summary", "nets")
    )
    return [*_layers(layers), *_nets(nets)]


def _measured(path: Path) -> Any:
    return (files.read_json(path) or {}).get("measured")


def _layers(found: dict[str, Any]) -> Iterator[Table]:
    rows, names = [], list[str]()
    for target, measured in found.items():
        for mode in MODES:
            of_mode = [m for m in measured or () if m["mode"] == mode]
            if of_mode:
                means = {name: geometric_mean(column) for name, column in ratios(of_mode).items()}
                names += [name for name in means if name not in names]
                rows.append((f"{TARGETS[target]}, {MODES[mode]}", WORDS[decisive(of_mode[0]["layers"])], means))
    if rows:
        body = [[*labels, *(two(means[name]) if name in means else "" for name in names)] for *labels, means in rows]
        yield Table("Ours / theirs, geometric mean over all shapes", ["target, mode", "what", *names], body)


def _nets(found: dict[str, Any]) -> Iterator[Table]:
    there = {target: measured for target, measured in found.items() if measured}
    resnets = {
        t: {f"{RESNETS[net]}, {row}": n for net in RESNETS for row, n in m.get(net, {}).items()}
        for t, m in there.items()
    }
    yield from _side_by_side("A training step of Flax's ResNets", "net, norm", resnets, columns=2, digits=2)
    mnist = {target: measured.get("mnist", {}) for target, measured in there.items()}
    yield from _side_by_side("A training step of the tutorial's nets", "net", mnist, columns=1, digits=3)


def _side_by_side(
    title: str, corner: str, found: dict[str, dict[str, dict[str, Any]]], *, columns: int, digits: int
) -> Iterator[Table]:
    """For each target the first so many columns that its compiler knows."""
    found = {target: rows for target, rows in found.items() if rows}
    rows = list(dict.fromkeys(row for of_target in found.values() for row in of_target))
    header, body = [corner], [[row] for row in rows]
    for target, of_target in found.items():
        for name in list(COLUMNS)[list(COLUMNS).index(decisive(of_target)) :][:columns]:
            words, unit = COLUMNS[name]
            header.append(f"{TARGETS[target]}, {words}")
            for cells in body:
                number = of_target[cells[0]][name] / unit if cells[0] in of_target else None
                cells.append("" if number is None else f"{number:.{digits if unit > 1 else 0}f}")
    if rows:
        yield Table(title, header, body)
