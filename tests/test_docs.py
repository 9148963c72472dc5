"""Tables and figures in the docs come from files that programs wrote, by commands that the docs name."""

import dataclasses
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest

from experiments import docs
from tests.sources import ROOT, anchor

PAGE = """Before.

<!-- table: results/ops/summary.md: forward, float32 -->
| old | table |
| --- | --- |
<!-- end -->

Between, a `|` and <!-- a comment -->.

<!-- table: results/none/summary.md: times -->
| kept |
<!-- end -->

<!-- figure: results/ops/ops.png -->
![Time of everyone](speed.png)
"""
SUMMARY = """backward

| a | b |
| --- | --- |
| 1 | 2 |

forward, float32

| c | d |
| --- | --- |
| 3 | 4 |
"""


def folder(tmp_path, page=PAGE):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("No table.\n")
    (tmp_path / "docs/speed.md").write_text(page)
    (tmp_path / "results/ops").mkdir(parents=True)
    (tmp_path / "results/ops/summary.md").write_text(SUMMARY)
    (tmp_path / "results/ops/ops.png").write_bytes(b"drawn")
    return tmp_path


def run(root):
    return docs.main(["--root", str(root)])


def test_a_block_gets_the_table_of_its_title(tmp_path, capsys):
    root = folder(tmp_path)
    assert run(root) == 2
    new = (root / "docs/speed.md").read_text()
    assert new == PAGE.replace("| old | table |\n| --- | --- |\n", "| c | d |\n| --- | --- |\n| 3 | 4 |\n")
    said = capsys.readouterr()
    assert said.out == f"{root}/docs/speed.md: renewed\n{root}/docs/speed.png: renewed\n"
    first, last = said.err.splitlines()
    assert first == f"{root}/docs/speed.md: results/none/summary.md is not there; left as it is"
    assert last.startswith("error: 1 tables or figures could not be renewed; ")
    assert run(root) == 2
    assert capsys.readouterr().out == ""
    assert (root / "README.md").read_text() == "No table.\n"


def test_a_title_that_is_not_there_is_named(tmp_path, capsys):
    root = folder(tmp_path, PAGE.replace("forward, float32", "forward").split("Between")[0])
    assert run(root) == 2
    assert "results/ops/summary.md has no table 'forward', but 'backward', 'forward, float32'; left" in (
        capsys.readouterr().err
    )


def test_some_rows_of_a_table(tmp_path, capsys):
    page = "<!-- table: results/ops/summary.md: times | y | x -->\n<!-- end -->\n"
    root = folder(tmp_path, page)
    rows = [f"| {name} | {i} |\n" for i, name in enumerate("xyz")]
    (root / "results/ops/summary.md").write_text("times\n\n| a | b |\n| --- | --- |\n" + "".join(rows))
    assert run(root) == 0
    kept = (root / "docs/speed.md").read_text()
    assert kept == page.replace("-->\n<", "-->\n| a | b |\n| --- | --- |\n" + rows[1] + rows[0] + "<")
    (root / "docs/speed.md").write_text(page.replace("| y", "| w"))
    assert run(root) == 2
    assert "the table 'times' of results/ops/summary.md has no row 'w'; left" in capsys.readouterr().err


def test_a_figure_is_copied_to_where_the_picture_lies(tmp_path, capsys):
    root = folder(tmp_path, "<!-- figure: results/ops/ops.png -->\n![Time](speed.png)\n\n![No figure](other.png)\n")
    (root / "docs/speed.png").write_bytes(b"old")
    assert run(root) == 0
    assert (root / "docs/speed.png").read_bytes() == b"drawn"
    assert capsys.readouterr().out == f"{root}/docs/speed.png: renewed\n"
    (root / "results/ops/ops.png").unlink()
    assert run(root) == 2
    assert "docs/speed.md: results/ops/ops.png is not there; left as it is\n" in capsys.readouterr().err
    assert (root / "docs/speed.png").read_bytes() == b"drawn"


def test_a_marker_does_not_leave_the_folder(tmp_path, capsys):
    pages = [
        "<!-- table: {root}/../secret.md: title -->\n<!-- end -->\n",
        "<!-- figure: ../secret.md -->\n![Time](speed.png)\n",
        "<!-- figure: results/ops/ops.png -->\n![Time](../../secret.md)\n",
    ]
    (tmp_path / "secret.md").write_text("title\n\n| a |\n| --- |\n| 1 |\n")
    for number, page in enumerate(pages):
        (tmp_path / str(number)).mkdir()
        root = folder(tmp_path / str(number), page := page.format(root=tmp_path / str(number)))
        assert run(root) == 2
        assert "lies outside" in capsys.readouterr().err
        assert (root / "docs/speed.md").read_text() == page
        assert not (root / "docs/speed.png").exists()
    assert (tmp_path / "secret.md").read_text().startswith("title")


def test_another_folder_is_one_line(tmp_path, capsys):
    assert run(tmp_path / "none") == 2
    assert capsys.readouterr().err == f"error: `--root` must be the folder of README.md, got {tmp_path / 'none'}.\n"


PAGES = sorted((ROOT / "docs").glob("*.md"))


def text_of(page):
    return page.read_text(encoding="utf-8")


def commands(page):
    """The module and the arguments of every program that a page runs."""
    written = re.sub(r"```\w*|```", "\n\n", text_of(page))
    for command in re.findall(r"python -m ((?:experiments|tests)\.[^`]*?)(?:`|\n\n)", written):
        module, *arguments = shlex.split(command)
        yield module, arguments


def folder_of(module, arguments):
    """Where a program writes."""
    if "--out" in arguments:
        return Path(arguments[arguments.index("--out") + 1])
    name = module if importlib.util.find_spec(module).submodule_search_locations is None else f"{module}.__main__"
    options = [v for v in vars(importlib.import_module(name)).values() if dataclasses.is_dataclass(v)]
    fields = {f.name: f for o in options if inspect.isclass(o) and o.__module__ == name for f in dataclasses.fields(o)}
    return fields["out"].default if "out" in fields else Path()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_a_command_on_the_page_writes_what_is_pasted(page):
    """For the README, a command on one of the pages that it points to."""
    named = re.findall(r"<!-- (?:table|figure): ([^\s:]+)", text_of(page))
    made = {folder_of(*c) for p in (PAGES if page.name == "README.md" else [page]) for c in commands(p)}
    assert not [file for file in named if not any(Path(file).is_relative_to(out) for out in made - {Path()})]


def test_every_picture_comes_from_one_program():
    # Several pages may show one.
    drawn = {(found["picture"], found["file"]) for page in PAGES for found in docs.FIGURE.finditer(text_of(page))}
    pictures = [picture for picture, _ in drawn]
    assert sorted(pictures) == [path.name for path in sorted((ROOT / "docs").glob("*.png"))]
    for page in (ROOT / "README.md", *PAGES):
        shown = {Path(name).name for name in re.findall(r"!\[[^\]]*\]\((\S+)\)", text_of(page))}
        assert shown <= set(pictures), page


def test_the_gallery_has_every_picture_and_where_it_is_explained():
    gallery = text_of(ROOT / "docs" / "gallery.md")
    pictures = [found["picture"] for found in docs.FIGURE.finditer(gallery)]
    assert sorted(pictures) == [path.name for path in sorted((ROOT / "docs").glob("*.png"))]
    # Between a picture and the one before: what it says, the page that shows it too, and the command.
    for said, picture in zip(docs.FIGURE.split(gallery)[::3], pictures, strict=False):
        (page,) = re.findall(r"\(\[more\]\(([\w.-]+\.md)[^)]*\)\)", said)
        assert f"({picture})" in text_of(ROOT / "docs" / page), picture
        assert "`python -m experiments." in said, picture


def without_code(page):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "``", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """As GitHub makes them from headings."""
    fenceless = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", fenceless, re.MULTILINE)
    return {anchor(heading) for heading in headings}


WITH_LINKS = [page for folder in (".", "docs", "experiments") for page in sorted((ROOT / folder).glob("*.md"))]


@pytest.mark.parametrize("page", WITH_LINKS, ids=lambda page: page.name)
def test_a_link_leads_to_a_file_and_its_heading(page):
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        if "://" not in link and not (target.is_file() and (not heading or heading in anchors(target))):
            lost.append(link)
    assert not lost
