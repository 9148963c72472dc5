"""A study's verdicts hold up to their bounds and not beyond, and its files say what it has found."""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from experiments.harness import plotting, study
from experiments.harness.study import Verdict, above, at_least, at_most, between, near
from experiments.harness.tables import Table
from tests.experiments import stub_study

STUDY = study.Study("growth", "A norm |w| grows by 2*h*l", "Someone 2020, Theorem 3", 1.5)
UP, DOWN = np.nextafter(0.25, 1), np.nextafter(0.25, 0)


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    width: int = 8
    seeds: int = 2


@pytest.mark.parametrize(
    ("judge", "holding", "failing"),
    [
        (lambda v: at_least("", v, 0.25), [0.25, 7], [DOWN, -7]),
        (lambda v: at_most("", v, 0.25), [0.25, -7], [UP, 7]),
        (lambda v: above("", v, 0.25), [UP, 7], [0.25, -7]),
        (lambda v: between("", v, 0.25, 0.5), [0.25, 0.5], [DOWN, 0.6]),
        (lambda v: near("", v, 0.5, percent=50), [0.25, 0.75], [0.2499, 0.7501]),
        (lambda v: near("", v, -0.5, percent=50), [-0.25, -0.75], [0.5, -0.2499]),
    ],
    ids=["at least", "at most", "above", "between", "near", "near a negative number"],
)
def test_a_verdict_holds_up_to_its_bounds(judge: Any, holding: list[float], failing: list[float]) -> None:
    assert [judge(value).holds for value in holding] == [True, True]
    assert [judge(value).holds for value in failing] == [False, False]


@pytest.mark.parametrize("judge", [at_least, at_most, above])
def test_of_several_seeds_the_mean_is_judged_or_every_one(judge: Any) -> None:
    values = np.array([[0.0], [1.0]])
    assert judge("", values, 0.25 if judge is not at_most else 0.75).holds
    assert not judge("", values, 0.25 if judge is not at_most else 0.75, every=True).holds
    assert judge("", values, 1.5 if judge is at_most else -0.5, every=True).holds


def every_kind(values: Any, *, every: bool = False) -> list[Verdict]:
    bounds = [f("", values, bound, every=every) for f in (at_least, above, at_most) for bound in (-math.inf, math.inf)]
    return [*bounds, between("", values, -math.inf, math.inf, every=every), near("", values, 1.0, percent=math.inf)]


@pytest.mark.parametrize("every", [False, True])
def test_what_is_not_a_number_holds_nowhere(every: bool) -> None:
    for values in (math.nan, [1.0, math.nan], np.array([math.nan, 1.0], np.float32)):
        assert not any(verdict.holds for verdict in every_kind(values, every=every))


@pytest.mark.parametrize(
    ("verdict", "predicted", "measured", "interval"),
    [
        (near("", [0.2, 0.4], 0.31234, percent=5), "0.3123, within 5 %", "0.3000 ± 0.1414", "0.2000 to 0.4000"),
        (near("", 1.5, 1.5, percent=0.5, digits=1), "1.5, within 0.5 %", "1.5", "1.5"),
        (between("", [4, 5], 4, 12), "4 to 12", "4.50 ± 0.71", "4.00 to 5.00"),
        (at_least("", [1, 3], 0.98, every=True), "at least 0.98, every seed", "2.00 ± 1.41", "1.00 to 3.00"),
        (at_most("", 1, 1e-3, every=True, digits=4), "at most 0.001", "1.0000", "1.0000"),
        (above("", [2, 2], 0), "above 0", "2.00 ± 0.00", "2.00"),
        (above("", math.nan, 0), "above 0", "nan", "nan"),
    ],
)
def test_what_a_row_says(verdict: Verdict, predicted: str, measured: str, interval: str) -> None:
    assert (verdict.predicted, verdict.measured, verdict.interval) == (predicted, measured, interval)
    assert isinstance(verdict.holds, bool)


def report(out: Path, **options: Any) -> str:
    figure, (ax,) = plotting.new_figure(1)
    ax.plot([0, 1], [0, 1])
    verdicts = [near("growth of |w|", [1.0, 1.01], 1.0, percent=5), at_most("2*h*l", math.nan, 1)]
    console = Console(file=io.StringIO(), width=160)
    study.report(STUDY, Config(out=out), verdicts, figure, console, **options)
    return console.file.getvalue()


def test_a_report_is_three_files_and_a_table_on_the_console(tmp_path: Path) -> None:
    more = Table("Norms", ["step", "norm"], [["1", "0.5"]])
    measured = {"norms": np.array([[1.0, math.inf]]), "steps": [1, 2]}
    said = report(tmp_path, measured=measured, tables=[more], notes=["Of 2*3 steps."])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.png", "summary.json", "summary.md"]
    with Image.open(tmp_path / "growth.png") as image:
        assert image.width > 400
    for part in (STUDY.claim, "growth of |w|", "1.0000, within 5 %", "holds", "FAILS", "Of 2*3 steps.", STUDY.source):
        assert part in said
    text = (tmp_path / "summary.md").read_text()
    # In Markdown every sign stands for itself.
    assert text.startswith("A norm \\|w\\| grows by 2\\*h\\*l.\n\nVerdicts\n\n| what | predicted | measured |")
    assert "\n| growth of \\|w\\| | 1.0000, within 5 % | 1.0050 ± 0.0071 | 1.0000 to 1.0100 | holds |\n" in text
    assert "\n| 2\\*h\\*l | at most 1 | nan | nan | FAILS |\n\nNorms\n\n| step | norm |\n" in text
    assert text.endswith("Of 2\\*3 steps.\n\nSource: Someone 2020, Theorem 3.\n")


@pytest.mark.parametrize(("bound", "more"), [(1, ""), (2, "\n(not every prediction holds in this run)")])
def test_a_figure_says_so_if_its_title_may_be_wrong(bound: float, more: str, tmp_path: Path) -> None:
    figure, (ax,) = plotting.new_figure(1)
    ax.set_title("It grows")
    study.report(STUDY, Config(out=tmp_path), [at_least("growth", 1, bound)], figure, Console(file=io.StringIO()))
    assert ax.get_title() == "It grows" + more


def no_constant(name: str) -> Any:
    pytest.fail(f"{name} is no JSON")


def test_the_summary_for_programs(tmp_path: Path) -> None:
    report(tmp_path, measured={"norms": np.array([[1.0, math.inf]])})
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=no_constant)
    assert {name: summary[name] for name in STUDY._fields} == STUDY._asdict()
    # Neither the folder nor where the data came from changes a number.
    assert summary["settings"] == {"seeds": 2, "seed": 1_000, "width": 8}
    assert summary["measured"] == {"norms": [[1.0, None]]}
    first, second = summary["verdicts"]
    assert first["values"] == [1.0, 1.01]
    assert (first["holds"], second["holds"], second["values"], second["measured"]) == (True, False, [None], "nan")
    assert summary["notes"] == ["Source: Someone 2020, Theorem 3."]
    assert {"device", "versions"} <= summary.keys()


def test_a_study_is_finished_when_all_its_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_study.without_figures(monkeypatch)
    folder = tmp_path / "a"
    assert study.read(folder, "a") is None
    stub_study.report("a", folder)
    found = study.read(folder, "a")
    assert found is not None
    assert found["settings"] == study.settings(stub_study.Config(out=tmp_path / "elsewhere", overwrite=True))
    assert study.read(folder, "b") is None
    (folder / "a.png").rename(folder / "kept.png")
    assert study.read(folder, "a") is None
    (folder / "kept.png").rename(folder / "a.png")
    for damaged in ("{", "[]", "{}", json.dumps({**found, "name": "b"}), '{"name": "a"}'):
        (folder / "summary.json").write_text(damaged)
        assert study.read(folder, "a") is None


@pytest.mark.parametrize(("cls", "others"), [(study.Config, set()), (study.MnistConfig, {"data_dir"})])
def test_a_study_starts_at_fresh_seeds(cls: Any, others: set[str]) -> None:
    assert {field.name for field in dataclasses.fields(cls)} == {"seeds", "seed", "out", "overwrite"} | others
    assert cls(seeds=3).all_seeds() == [1_000, 1_001, 1_002]
