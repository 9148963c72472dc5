"""A study: a claim of the field, a program that measures it, and verdicts beside predictions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from experiments.harness import config, files, plotting, results
from experiments.harness.errors import UserError
from experiments.harness.tables import Table, markdown, mean_and_spread

# What neither the numbers of a study nor its claim depend on.
_ASIDE = ("out", "overwrite", "data_dir")


class Study(NamedTuple):
    """What is known of a study before it has run.

    Attributes:
        name: as in `python -m experiments.studies.NAME`, and of its figure.
        claim: one sentence.
        source: where it comes from, with the number of the theorem or figure.
        minutes: what it takes on 2 cores.
    """

    name: str
    claim: str
    source: str
    minutes: float


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
    values = _listed(values)
    holds = abs(np.mean(values) - target) <= abs(target) * percent / 100
    return Verdict(what, f"{target:.{digits}f}, within {percent:g} %", values, bool(holds), digits)


def between(what: str, values: Any, low: float, high: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must be between two bounds; one of them may be infinite."""
    values = _listed(values)
    judged = values if every else [float(np.mean(values))]
    bounds = f"{low:g} to {high:g}"
    if np.isinf(low):
        bounds = f"at most {high:g}"
    elif np.isinf(high):
        bounds = f"at least {low:g}"
    of = ", every seed" if every and len(values) > 1 else ""
    return Verdict(what, bounds + of, values, all(low <= value <= high for value in judged), digits)


def at_least(what: str, values: Any, low: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must not be below a bound."""
    return between(what, values, low, np.inf, every=every, digits=digits)


def at_most(what: str, values: Any, high: float, *, every: bool = False, digits: int = 2) -> Verdict:
    """The mean, or the value of every seed, must not be above a bound."""
    return between(what, values, -np.inf, high, every=every, digits=digits)


def verdict_table(title: str, verdicts: Iterable[Mapping[str, Any]]) -> Table:
    """A row for each verdict, given as in `summary.json`."""
    header = ["", "predicted", "measured", "lowest to highest", "verdict"]
    rows = [
        [*(v[name] for name in ("what", "predicted", "measured", "interval")), "holds" if v["holds"] else "FAILS"]
        for v in verdicts
    ]
    return Table(title, header, rows)


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
    table = verdict_table(study.claim, told)
    notes = [*notes, f"Source: {study.source}."]
    plotting.save_figure(figure, cfg.out / f"{study.name}.png")
    more = json.loads(json.dumps(measured or {}, default=np.ndarray.tolist))
    # Last, for it tells that the study is finished.
    summary = {**study._asdict(), "settings": settings(cfg), "verdicts": told, "notes": notes, "measured": more}
    results.write_summary(cfg.out, summary, markdown([table, *tables], notes))
    table.show(notes, console)
    results.name_files(cfg.out, ("summary.md", "summary.json", f"{study.name}.png"), console)


def settings(cfg: config.Settings) -> dict[str, Any]:
    """All that the results depend on, as JSON."""
    return json.loads(json.dumps({k: v for k, v in dataclasses.asdict(cfg).items() if k not in _ASIDE}, default=str))


def read(folder: Path) -> dict[str, Any] | None:
    """The summary of a study that is finished, or `None`."""
    try:
        summary = files.read_json(folder / "summary.json")
    except UserError:
        return None
    return summary if summary and {*Study._fields, "settings", "verdicts", "notes"} <= summary.keys() else None


def _listed(values: Any) -> list[float]:
    return np.ravel(values).astype(float).tolist()
