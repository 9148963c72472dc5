"""A study: a claim of the field, a program that measures it, and verdicts beside predictions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from experiments.harness import config, files, plotting, results
from experiments.harness.errors import UserError
from experiments.harness.tables import Table, escaped, markdown, mean_and_spread

# What neither the numbers of a study nor its claim depend on.
_ASIDE = ("out", "overwrite", "data_dir")

# What a report is made of.
_SUMMARY: dict[str, type] = {"name": str, "claim": str, "source": str, "settings": dict, "verdicts": list}
_SUMMARY |= {"notes": list, "device": str, "versions": dict}
_VERDICT: dict[str, type] = {"what": str, "predicted": str, "measured": str, "interval": str, "holds": bool}
_SEEDS: dict[str, type] = {"seed": int, "seeds": int}


class Study(NamedTuple):
    """What is known of a study before it has run.

    Attributes:
        name: as in `python -m experiments.studies.NAME`, and of its figure.
        claim: one sentence, without its full stop.
        source: where it comes from, with the number of the theorem or figure; without a full stop.
        minutes: what it takes on 2 cores.
        apart: whether it takes so long that it is left out where all are run.
    """

    name: str
    claim: str
    source: str
    minutes: float
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class Config(config.Settings):
    """The settings of a study; a subclass adds its own and redefines what differs."""

    seed: int = 1_000
    """The first seed; the others follow it. Those below served to write the study."""


@dataclasses.dataclass(frozen=True)
class MnistConfig(config.MnistSettings):
    """The same for a study on MNIST."""

    seed: int = 1_000
    """The first seed; the others follow it. Those below served to write the study."""


class Verdict(NamedTuple):
    """What was predicted beside what was measured.

    Attributes:
        what: was measured.
        predicted: the value or the bounds, as text.
        values: what was measured, one value for each seed, or what stands for one.
        holds: whether the prediction does.
        digits: after the point, where the values are shown.
    """

    what: str
    predicted: str
    values: list[float]
    holds: bool
    digits: int

    @property
    def measured(self) -> str:
        """Mean and standard deviation."""
        return mean_and_spread(self.values, self.digits)

    @property
    def interval(self) -> str:
        """The lowest and the highest value."""
        low, high = (f"{bound:.{self.digits}f}" for bound in (min(self.values), max(self.values)))
        return low if low == high else f"{low} to {high}"


def near(what: str, values: Any, target: float, *, percent: float, digits: int = 4) -> Verdict:
    """The mean must be within so many percent of a predicted number."""
    predicted, most = f"{target:.{digits}f}, within {percent:g} %", abs(target) * percent / 100
    return _judged(what, values, predicted, lambda mean: abs(mean - target) <= most, every=False, digits=digits)


def between(what: str, values: Any, low: float, high: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must be between two bounds."""
    return _judged(what, values, f"{low:g} to {high:g}", lambda v: low <= v <= high, every=every, digits=digits)


def at_least(what: str, values: Any, low: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must not be below a bound."""
    return _judged(what, values, f"at least {low:g}", lambda v: v >= low, every=every, digits=digits)


def above(what: str, values: Any, low: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must be more than a bound."""
    return _judged(what, values, f"above {low:g}", lambda v: v > low, every=every, digits=digits)


def at_most(what: str, values: Any, high: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must not be above a bound."""
    return _judged(what, values, f"at most {high:g}", lambda v: v <= high, every=every, digits=digits)


def _judged(
    what: str, values: Any, predicted: str, holds: Callable[[float], bool], *, every: bool, digits: int
) -> Verdict:
    """NaN is in no bounds, for no comparison with it is true."""
    values = np.ravel(values).astype(float).tolist()
    judged = values if every else [float(np.mean(values))]
    of = ", every seed" if every and len(values) > 1 else ""
    return Verdict(what, predicted + of, values, all(map(holds, judged)), digits)


def verdict_table(verdicts: Iterable[Mapping[str, Any]]) -> Table:
    """A row for each verdict, given as in `summary.json`."""
    header = ["what", "predicted", "measured", "lowest to highest", "verdict"]
    rows = [
        [*(v[name] for name in ("what", "predicted", "measured", "interval")), "holds" if v["holds"] else "FAILS"]
        for v in verdicts
    ]
    return Table("Verdicts", header, rows)


def report(
    study: Study,
    cfg: config.Settings,
    verdicts: Iterable[Verdict],
    figure: Any,
    console: Console,
    *,
    measured: dict[str, Any] | None = None,
    tables: Iterable[Table] = (),
    notes: Iterable[str] = (),
) -> None:
    """Write `summary.json`, `summary.md` and the figure, and print the verdicts.

    Args:
        study: what it is about.
        cfg: its settings.
        verdicts: on its claim.
        figure: as from `plotting.new_figure`; it is closed.
        console: to print on.
        measured: more for `summary.json`; arrays become lists.
        tables: more for `summary.md`.
        notes: sentences under the tables.
    """
    told = [{**v._asdict(), "measured": v.measured, "interval": v.interval} for v in verdicts]
    table = verdict_table(told)
    notes = [*notes, f"Source: {study.source}."]
    if not all(v["holds"] for v in told):
        plotting.doubt(figure)
    plotting.save_figure(figure, cfg.out / figure_of(study.name))
    summary = {**study._asdict(), "settings": settings(cfg), "verdicts": told, "notes": notes}
    text = markdown([table.escaped(), *tables], map(escaped, notes))
    results.write_summary(
        cfg.out, _as_json({**summary, "measured": measured or {}}), f"{escaped(study.claim)}.\n\n{text}"
    )
    console.print(f"\n{study.claim}.", soft_wrap=True)
    table.show(notes, console)
    results.name_files(cfg.out, ("summary.md", "summary.json", figure_of(study.name)), console)


def figure_of(name: str) -> str:
    """The file of a study's figure in its folder."""
    return f"{name}.png"


def settings(cfg: config.Settings) -> dict[str, Any]:
    """All that the results depend on, as JSON."""
    of = {name: value for name, value in dataclasses.asdict(cfg).items() if name not in _ASIDE}
    return json.loads(json.dumps(of, default=str))


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The summary of a study that is finished, or `None`, also where a program of other results has written it."""
    try:
        summary = files.read_json(folder / "summary.json")
    except UserError:
        return None
    if summary is None or not _has(summary, _SUMMARY) or not _has(summary["settings"], _SEEDS):
        return None
    told = all(_has(v, _VERDICT) for v in summary["verdicts"]) and all(isinstance(n, str) for n in summary["notes"])
    return summary if told and summary["name"] == name and (folder / figure_of(name)).is_file() else None


def _has(value: Any, kinds: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """Arrays as lists, and no number where JSON has none, as for NaN."""
    return json.loads(json.dumps(value, default=np.ndarray.tolist), parse_constant=lambda _: None)
