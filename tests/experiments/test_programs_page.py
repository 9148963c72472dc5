"""The page of all programs: each has its row, and the rows of the studies say what the studies say."""

import re

from experiments.harness.tables import escaped
from experiments.studies import __main__ as all_studies
from tests.sources import ROOT

FOLDER = ROOT / "experiments"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `python -m ([\w.]+)([^`]*)` \| (.+?) \|$", PAGE, re.MULTILINE)


def programs():
    """The modules that `python -m` runs."""
    for path in FOLDER.rglob("*.py"):
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


def test_every_program_has_its_row():
    assert {module for module, _, _ in ROWS} == {*programs()}


def test_the_studies_are_what_they_say_of_themselves():
    rows = {module.rpartition(".")[2]: cells for module, _, cells in ROWS}
    modules = all_studies.find_studies()
    for name, module in modules.items():
        study = module.STUDY
        assert rows[name].startswith(f"{escaped(study.claim)} | {study.minutes:g} | "), name
    minutes = sum(module.STUDY.minutes for module in modules.values() if not module.STUDY.apart)
    assert rows["studies"].startswith("runs all of those below but `record`, ")
    assert all_studies.apart(modules) == ["record"]
    assert f" | {minutes:.0f} | " in rows["studies"]


def test_every_row_has_a_cell_for_each_column():
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        counts = {len(re.split(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(counts) == 1, table.splitlines()[0]


def test_the_pages_and_headings_that_it_links_to_exist():
    for link, _, heading in re.findall(r"\]\(([\w./-]+)(#([\w-]+))?\)", PAGE):
        page = FOLDER / link
        assert page.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}, heading
