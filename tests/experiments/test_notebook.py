"""The tutorial's notebook runs, has the cells of its source, and shows the outputs of a whole run."""

import re

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.sources import ROOT

SOURCE, NOTEBOOK = ROOT / "experiments/tutorial_notebook.py", ROOT / "experiments/tutorial.ipynb"
# In the place of the parameters; and before all cells.
FEW_STEPS = "DENSE_STEPS, CONV_STEPS, DEEP_STEPS = 4, 4, 16\nSEED = 1\nREAD_AT = 2"
STAND_IN = """
import pytest
from experiments.harness import data
from tests.experiments import stand_in
stand_in.shrink(pytest.MonkeyPatch())
data.load_kept = stand_in.load_stand_in
"""


def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows, in order: "stdout", "image/png", or what it should not."""
    return [output.get("name") or min(output.get("data", [output.output_type])) for output in cell.outputs]


@pytest.mark.slow
def test_it_runs_and_shows_what_the_committed_one_shows(tmp_path, monkeypatch):
    notebook = jupytext.read(SOURCE)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = FEW_STEPS
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STAND_IN))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    for name in ("IPYTHONDIR", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    # A warning would be on the standard error.
    assert [kinds(cell) for cell in code(notebook)[1:]] == [kinds(cell) for cell in code(committed())]


def test_it_has_the_cells_of_its_source():
    source, notebook = ([(c.cell_type, c.source) for c in of.cells] for of in (jupytext.read(SOURCE), committed()))
    assert notebook == source


def test_it_shows_the_outputs_of_one_run_from_top_to_bottom():
    cells = code(committed())
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        draws = re.search(r"plt\.show\(|= train\(", cell.source)
        shown = ["image/png"] * bool(draws) + ["stdout"] * ("print(" in cell.source)
        assert sorted(kinds(cell)) == shown, cell.source


def test_it_holds_neither_times_nor_places_of_one_machine():
    for cell in committed().cells:
        # Where Jupyter records when a cell ran.
        assert "execution" not in cell.metadata
        printed = "".join(output.get("text", "") for output in cell.get("outputs", []))
        # A path from the root of a file system, unlike that of a page.
        assert not re.search(r"(?<![\w./])/\w[\w.-]*/", cell.source + printed), cell.source
    assert NOTEBOOK.stat().st_size < 700_000
