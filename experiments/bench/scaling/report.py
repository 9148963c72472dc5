"""Tables of what the scaling bench has measured and compiled, and what they can say."""

from __future__ import annotations

import statistics
from typing import Any

from experiments.bench.scaling.net import CLASSES, IMAGE
from experiments.bench.scaling.sent import DATA, PART
from experiments.bench.scaling.training import STEPS
from experiments.bench.ways import MODES
from experiments.harness.tables import Table

NET = (
    f"The net has two convolutions with a norm each and {CLASSES} classes, on images of {'x'.join(map(str, IMAGE))}, "
    "float32; plain `jit`, a mesh with one axis, a sharded batch."
)
CAN = (
    "The tables of scaling hold the ms of a step, and time and CPU time (of all cores) per example, as multiples of "
    "those on the fewest devices. The devices are virtual: they share the cores of this machine, which one device can "
    "use as well. So the tables show what partitioning and collectives add, where 1.00 is nothing, and that the "
    "numbers agree. They can not show a speed-up: that needs devices with cores of their own. A time below 1.00 means "
    "that one device alone left cores idle or, on a machine with other work, that more threads got more of it; the CPU "
    "time is nearly free of that. The processes take turns."
)
# By layer, then what was measured of it.
Row = dict[str, dict[str, Any]]


def scaling_tables(measured: list[dict[str, Any]]) -> list[Table]:
    """Both kinds; how far the numbers agree; the programs."""
    rows: dict[str, dict[int, Row]] = {}
    for m in measured:
        rows.setdefault(m["kind"], {}).setdefault(m["devices"], {})[m["layer"]] = m
    strong, fewest = rows["strong"], min(rows["strong"])
    numbers = {n: [f"{m['loss']:.6f} / {m['apart']:.0e}" for m in row.values()] for n, row in strong.items()}
    programs = {n: [f"{m['collectives']} / {m['seconds']:.2f}" for m in row.values()] for n, row in strong.items()}
    titles = {
        f"Strong scaling: loss of step {STEPS} / largest difference of a variable from one device": numbers,
        "Strong scaling: collectives of a step / seconds to trace and compile": programs,
    }
    heads = ["devices", *next(iter(strong.values()))]
    return [
        _times(f"Strong scaling: a batch of {_batch(strong[fewest])} in all", strong),
        _times(f"Weak scaling: a batch of {_batch(rows['weak'][fewest]) // fewest} on each device", rows["weak"]),
        *(Table(title, heads, [[f"{n}", *row] for n, row in cells.items()]) for title, cells in titles.items()),
    ]


def _times(title: str, rows: dict[int, Row]) -> Table:
    """Milliseconds of a step, and per example, as a multiple of that of the fewest devices, both clocks."""
    fewest = rows[min(rows)]

    def ratio(name: str, m: dict[str, Any], clock: str) -> str:
        return f"{_each(m, clock) / _each(fewest[name], clock):.2f}"

    body = [
        [
            f"{devices}",
            *(f"{statistics.median(m['milliseconds']):.2f}" for m in row.values()),
            *(" / ".join(ratio(name, m, clock) for clock in ("milliseconds", "processors")) for name, m in row.items()),
        ]
        for devices, row in rows.items()
    ]
    heads = ["devices", *(f"{name}, ms" for name in fewest), *(f"{name}, time / CPU time" for name in fewest)]
    return Table(title, heads, body)


def _batch(row: Row) -> int:
    return next(iter(row.values()))["batch"]


def _each(m: dict[str, Any], clock: str) -> float:
    """Milliseconds per example."""
    return statistics.median(m[clock]) / m["batch"]


def sent_tables(found: list[dict[str, Any]]) -> list[Table]:
    """Counts, bytes, what the data wait for; what is sent, for the first CPU and TPU; what compiles."""
    made = [place for place in found if "programs" in place]
    names = list(dict.fromkeys(p["layer"] for place in made for p in place["programs"]))
    counts, waits, sizes, whats = [], [], [], []
    for place in made:
        rows: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
        for p in place["programs"]:
            rows.setdefault(p["way"], {})[p["layer"]] = p["collectives"]
        for way, row in rows.items():
            label = [f"{place['where']}, {way}", f"{place['devices']:,}"]
            counts.append([*label, *(" / ".join(f"{len(row[n][mode])}" for mode in MODES) for n in names)])
            waits.append([*label, *(f"{len(row[n][DATA])}" for n in names)])
            sizes.append([*label, *(" / ".join(f"{_bytes(row[n][mode]):,}" for mode in MODES) for n in names)])
            if place["platform"] not in {other["platform"] for other in made[: made.index(place)]}:
                whats += [[f"{label[0]}, {n}", *(_whats(row[n][mode]) for mode in MODES)] for n in names]
    heads, modes = ["compiled for", "devices", *names], "forward / forward and backward"
    shape = "x".join(map(str, PART[1:]))
    return [
        Table(f"Collectives of one layer, {modes}", heads, counts),
        Table("Of these, what the output and the gradient of the data wait for", heads, waits),
        Table(f"Bytes that they make on each device, for {PART[-1]} channels, {modes}", heads, sizes),
        Table(f"What they are, for {PART[0]} examples of {shape} on each device", ["compiled for", *MODES], whats),
        Table(
            "Seconds to compile the programs of all layers",
            ["compiled for", "device", "devices", "seconds"],
            list(map(_end, found)),
        ),
    ]


def _end(place: dict[str, Any]) -> list[str]:
    if "failed" in place:
        return [place["where"], "", "", place["failed"]]
    seconds = sum(p["seconds"] for p in place["programs"])
    return [place["where"], place["device"], f"{place['devices']:,}", f"{seconds:.1f}"]


def _bytes(listed: list[dict[str, Any]]) -> int:
    return sum(c["bytes"] for c in listed)


def _whats(listed: list[dict[str, Any]]) -> str:
    return "; ".join(c["what"] for c in listed) or "none"
