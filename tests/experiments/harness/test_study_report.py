"""The report of all studies: every prediction once, in Markdown and in a page that needs nothing but itself."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import study_report
from tests.experiments import stub_study

NAMES = ["a", "b", "c"]
# Each sign that means something in one of the formats.
HOSTILE = """2*h*l|w| <b> & "x" 'y' `z` [w](v) \\ </td><script>"""
EMPTY = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: a document whose every tag is closed, its rows, its pictures, all that it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.ids = list[str](), list[str](), list[str]()
        self.rows, self.references, self.labels = list[list[str]](), list[str](), list[str]()
        self.pictures, self.text, self.classes = list[dict[str, str]](), "", list[str]()
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in EMPTY:
            self.open.append(tag)
        self.references += [given[name] for name in ("href", "src", "action", "data") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self.labels.append(given["data-label"])
            self.classes.append(given["class"])
        if tag == "img":
            self.pictures.append(given)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open:
            self.rows[-1][-1] += data


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two finished studies, of which one fails, and one that is not finished."""
    stub_study.without_figures(monkeypatch)
    stub_study.report("a", tmp_path / "a", claim=f"The claim {HOSTILE}")
    stub_study.report("b", tmp_path / "b", (1.0, 9.0))
    return tmp_path


def test_both_files_have_each_prediction_once_above_and_once_below(out: Path) -> None:
    found = study_report.write(out, NAMES)
    assert [*found] == ["a", "b"]
    rows = {
        "a": ["growth in a", "1.0000, within 50 %", "1.1250 ± 0.1768", "1.0000 to 1.2500", "holds"],
        "b": ["growth in b", "1.0000, within 50 %", "5.0000 ± 5.6569", "1.0000 to 9.0000", "FAILS"],
    }
    text = (out / "REPORT.md").read_text()
    page = Page((out / "report.html").read_text())
    for name, cells in rows.items():
        assert text.count(f"\n| {name} | {' | '.join(cells)} |\n") == 1
        assert text.count(f"\n| {' | '.join(cells)} |\n") == 1
        assert page.rows.count([name, *cells]) == page.rows.count(cells) == 1
    assert len([row for row in page.rows if row]) == 4
    assert (
        text.count("| study | what | predicted | measured |")
        == text.count("| --- | --- | --- | ---: | ---: | --- |")
        == 1
    )
    for said in (text, page.text):
        assert said.count("1 of 2 predictions hold, 1 FAILS: b.") == 1
        assert said.count("Not run yet: c.") == 1
        for part in (
            "python -m experiments.studies.a",
            "Someone 2020, on a",
            "Of a.",
            "Seeds 1000 to 1001; cpu",
            "jax ",
        ):
            assert part in said


def test_the_words_at_the_head(out: Path) -> None:
    assert study_report.headline(study_report.write(out, ["a"])) == "All 1 predictions hold."
    stub_study.report("c", out / "c", float("nan"))
    assert study_report.headline(study_report.write(out, NAMES)) == "1 of 3 predictions hold, 2 FAIL: b, c."
    assert "Not run yet" not in (out / "REPORT.md").read_text()


def test_text_stays_text_in_either_format(out: Path) -> None:
    stub_study.report("c", out / "c", sign=f" {HOSTILE}")
    study_report.write(out, NAMES)
    page = Page((out / "report.html").read_text())
    assert f"The claim {HOSTILE}. Source: " in page.text
    assert f"Of c {HOSTILE}." in page.text
    assert sum(f"growth in c {HOSTILE}" in row for row in page.rows) == 2
    assert "script" not in page.tags
    assert page.pictures[0]["alt"] == f"The claim {HOSTILE}"
    text, escaped = (
        (out / "REPORT.md").read_text(),
        "2\\*h\\*l\\|w\\| \\<b> & \"x\" 'y' \\`z\\` \\[w](v) \\\\ \\</td>\\<script>",
    )
    assert f"The claim {escaped}. Source: " in text
    assert f"| growth in c {escaped} |" in text
    assert f"Of c {escaped}." in text


def test_the_page_is_one_file_without_a_network(out: Path) -> None:
    study_report.write(out, NAMES)
    text = (out / "report.html").read_text()
    page = Page(text)
    # Places in it, and pictures that it holds.
    assert page.references
    inside = [reference.removeprefix("#") for reference in page.references if reference.startswith("#")]
    assert set(inside) <= set(page.ids)
    assert len(page.references) == len(inside) + len(page.pictures)
    for picture in page.pictures:
        kind, content = picture["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True) == stub_study.PNG
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert len(page.ids) == len(set(page.ids)) == 2


def test_it_is_read_in_the_dark_and_on_a_phone(out: Path) -> None:
    study_report.write(out, NAMES)
    text = (out / "report.html").read_text()
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta charset="utf-8">' in text
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text
    assert "color-scheme: light dark" in text
    assert "@media (prefers-color-scheme: dark)" in text
    page = Page(text)
    # Where there is no room for columns, each cell names its own.
    header = ["study", "what", "predicted", "measured", "lowest to highest", "verdict"]
    assert page.labels[:6] == header
    # Whether a prediction holds is told by a word too.
    assert page.classes[:12:6] == ["name", "name"]
    assert page.classes[5:12:6] == ["holds", "fails"]


def test_the_figures_of_the_text_are_where_it_says(out: Path) -> None:
    study_report.write(out, NAMES)
    figures = re.findall(r"\]\((\S+\.png)\)", (out / "REPORT.md").read_text())
    assert figures == ["a/a.png", "b/b.png"]
    assert all((out / figure).is_file() for figure in figures)


def test_before_any_study_is_finished(tmp_path: Path) -> None:
    assert study_report.headline(study_report.write(tmp_path, NAMES)) == "All 0 predictions hold."
    assert "Not run yet: a, b, c." in Page((tmp_path / "report.html").read_text()).text
