"""Tables and figures of the docs come from files that programs wrote, by commands that the docs name; links hold."""

import dataclasses
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest

from experiments import docs
from tests.sources import ROOT, anchor

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
