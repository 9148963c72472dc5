"""The program of all studies: what it lists, skips, goes on with, and says at its end."""

import inspect
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.harness.errors import UserError
from experiments.studies import __main__ as all_studies
from tests.experiments import stub_study
from tests.sources import ROOT

FOLDER = ROOT / "experiments" / "studies"
# What would be a study's value if it were run.
VALUES = {"a": (1.0, 1.1), "b": (1.0, 1.2), "c": (9.0, 9.0)}


class Studies:
    """Three stubs: which have worked, with what settings, and what happens instead."""

    def __init__(self) -> None:
        self.worked, self.instead = list[tuple[str, Any]](), dict[str, BaseException]()

    def names(self) -> list[str]:
        """Of those that have worked since the last question."""
        worked, self.worked = self.worked, []
        return [name for name, _ in worked]

    def modules(self) -> dict[str, Any]:
        return {name: stub_study.module(name, self.work(name)) for name in VALUES}

    def work(self, name: str) -> Callable[[Any, Console], None]:
        def work(cfg: Any, console: Console) -> None:
            cfg.check()
            if name in self.instead:
                raise self.instead[name]
            self.worked.append((name, cfg))
            stub_study.report(name, cfg.out, VALUES[name])

        return work


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Studies:
    stub_study.without_figures(monkeypatch)
    stubs = Studies()
    monkeypatch.setattr(all_studies, "find_studies", stubs.modules)
    return stubs


def test_every_module_is_a_study() -> None:
    modules = all_studies.find_studies()
    files = {path.stem for path in FOLDER.glob("*.py")} | {path.parent.name for path in FOLDER.glob("*/__main__.py")}
    assert set(modules) == files - {"__init__", "__main__"}
    for name, module in modules.items():
        about, own = module.STUDY, module.Config()
        assert about.name == name
        assert 0 < about.minutes <= 90
        assert not about.claim.endswith("."), name
        assert not about.source.endswith("."), name
        assert "\n" not in about.claim + about.source
        # As people say it.
        number, unit = re.search(r"^Takes (\d+) (second|minute)s? on 2 cores; ", module.__doc__, re.MULTILINE).groups()
        assert float(number) / (60 if unit == "second" else 1) == pytest.approx(about.minutes, rel=0.2), name
        assert f"{name}.png" in module.__doc__, name
        assert own.out == Path("results/studies") / name
        assert own.seed == 1_000
        assert list(inspect.signature(module.work).parameters) == ["cfg", "console"]
        assert callable(module.main)


def listed(monkeypatch: pytest.MonkeyPatch, console: Console) -> list[str]:
    monkeypatch.setattr(all_studies.program, "make_console", lambda: console)
    assert all_studies.main([]) == 0
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 160])
def test_a_list_for_people(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = listed(monkeypatch, Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None))
    assert max(map(len, lines)) <= width
    for name, module in all_studies.find_studies().items():
        assert sum(bool(re.match(rf"│ {name} +│ +{module.STUDY.minutes:g} │ ", line)) for line in lines) == 1
    words = " ".join(word for line in lines for word in line.replace("│", " ").split())
    assert "python -m experiments.studies --all" in words


def test_a_list_for_a_pipe_is_a_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = listed(monkeypatch, Console(file=io.StringIO(), width=160, soft_wrap=True))
    modules = all_studies.find_studies()
    for line, (name, module) in zip(lines, modules.items(), strict=False):
        assert line.split() == [name, f"{module.STUDY.minutes:g}", "min", *module.STUDY.claim.split()]
    assert len(lines) == len(modules) + 2


def test_all_run_once(studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--all", "--out", str(tmp_path), "--data-dir", "some"]
    assert all_studies.main(flags) == 0
    assert [(cfg.out, cfg.data_dir) for _, cfg in studies.worked] == [
        (tmp_path / name, Path("some")) for name in VALUES
    ]
    assert studies.names() == ["a", "b", "c"]
    said = capsys.readouterr().out
    assert "\na, 1 of 3; 3 minutes to go\n" in said
    assert "\nc, 3 of 3; 60 seconds to go\n" in said
    # A prediction that fails is a result.
    assert said.splitlines()[-2:] == [
        f"Report: {tmp_path}/report.html, {tmp_path}/REPORT.md",
        "2 of 3 predictions hold, 1 FAILS: c.",
    ]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c", "REPORT.md", "report.html"}
    assert all_studies.main(flags) == 0
    assert studies.names() == []
    assert capsys.readouterr().out.splitlines()[0] == "Finished before: a, b, c"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_some_run_alone_and_the_report_is_of_all(studies: Studies, tmp_path: Path) -> None:
    assert all_studies.main(["--only", "b", "--out", str(tmp_path)]) == 0
    assert all_studies.main(["--only", "c", "a", "--out", str(tmp_path)]) == 0
    assert studies.names() == ["b", "c", "a"]
    assert [len(re.findall(f"^## {name}$", (tmp_path / "REPORT.md").read_text(), re.M)) for name in VALUES] == [1, 1, 1]


def test_one_that_takes_long_runs_by_its_name_alone(
    studies: Studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    modules = studies.modules()
    modules["b"].STUDY = modules["b"].STUDY._replace(minutes=60, apart=True)
    monkeypatch.setattr(all_studies, "find_studies", lambda: modules)
    assert all_studies.main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[:2] == ["b", "60"]
    assert said[-1] == "All of them but b, 2 minutes: python -m experiments.studies --all"
    assert all_studies.main(["--all", "--out", str(tmp_path)]) == 0
    assert studies.names() == ["a", "c"]
    # No one misses it, and it is reported once it is there.
    report = tmp_path / "REPORT.md"
    assert "Not run yet" not in report.read_text()
    assert all_studies.main(["--only", "b", "--out", str(tmp_path)]) == 0
    assert studies.names() == ["b"]
    assert "\n## b\n" in report.read_text()


def test_a_stop_is_one_line_that_goes_on(studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--all", "--out", str(tmp_path)]
    studies.instead["b"] = KeyboardInterrupt()
    assert all_studies.main(flags) == 130
    command = f"python -m experiments.studies --all --out {tmp_path}"
    assert capsys.readouterr().err == f"\nStopped. What was finished is kept; to go on: {command}\n"
    assert studies.names() == ["a"]
    assert "\n## a\n" in (tmp_path / "REPORT.md").read_text()
    studies.instead.clear()
    assert all_studies.main(flags) == 0
    assert studies.names() == ["b", "c"]


def test_to_overwrite_is_said_once(studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--all", "--out", str(tmp_path)]
    all_studies.main(flags)
    studies.names()
    studies.instead["b"] = KeyboardInterrupt()
    assert all_studies.main([*flags, "--overwrite"]) == 130
    assert studies.names() == ["a"]
    assert capsys.readouterr().err.endswith(f"to go on: python -m experiments.studies --all --out {tmp_path}\n")
    # Until there are new results, the earlier ones are reported.
    assert "\n## c\n" in (tmp_path / "REPORT.md").read_text()
    studies.instead.clear()
    assert all_studies.main(flags) == 0
    assert studies.names() == ["b", "c"]
    assert all_studies.main(flags) == 0
    assert studies.names() == []
    assert not [*tmp_path.rglob(".*")]


def test_a_study_that_fails_ends_the_run(studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies.instead["b"] = UserError("`--data-dir` must be a folder with MNIST.")
    assert all_studies.main(["--all", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: b: `--data-dir` must be a folder with MNIST.\n"
    assert studies.names() == ["a"]
    assert "Not run yet: b, c." in (tmp_path / "REPORT.md").read_text()


@pytest.mark.parametrize("change", ["other settings", "another program's"])
def test_other_results_are_refused_before_any_work(
    studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    flags = ["--all", "--out", str(tmp_path)]
    stub_study.report("b", tmp_path / "b")
    path = tmp_path / "b" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps({**summary, "settings": {"seed": 0}} if change == "other settings" else {"acc": 1}))
    kept = path.read_text()
    assert all_studies.main(flags) == 2
    assert capsys.readouterr().err == (
        f"error: `--out` must be without results of other settings, but {tmp_path} has such of b; add --only b "
        "--overwrite to replace them, or name another folder.\n"
    )
    assert studies.names() == []
    assert path.read_text() == kept
    assert all_studies.main(["--only", "b", "b", "--overwrite", "--out", str(tmp_path)]) == 0
    assert all_studies.main(flags) == 0
    assert studies.names() == ["b", "a", "c"]


def test_an_unknown_name_is_one_line(studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all_studies.main(["--only", "a", "bb", "d", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: `--only` must name studies, a, b, c, got bb, d.\n"
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_is_one_line(
    studies: Studies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    assert all_studies.main(["--all", "--out", str(tmp_path / "file")]) == 2
    assert re.fullmatch(r"error: `--out` must be a folder that can be written[^\n]*\n", capsys.readouterr().err)
    assert studies.names() == []
