"""The page of all programs: each has its row, and the rows of the studies say what the studies say."""

import re

from experiments.harness.tables import escaped
from experiments.studies import __main__ as all_studies
from tests.sources import ROOT, programs

FOLDER = ROOT / "experiments"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `python -m ([\w.]+)([^`]*)` \| (.+?) \|$", PAGE, re.MULTILINE)


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
