"""Tables in the one format of all `summary.md`, and for people."""

import io

import pytest
from rich.console import Console

from experiments.harness import tables

TABLE = tables.Table("What it found", ["run", "acc"], [["mlp", "0.9"], ["conv", "0.8"]])


def test_a_summary_is_tables_under_their_titles_then_notes() -> None:
    assert tables.markdown([TABLE, TABLE._replace(title="Again", rows=[])], ["One note.", "Another."]) == (
        "What it found\n\n| run | acc |\n| --- | ---: |\n| mlp | 0.9 |\n| conv | 0.8 |\n\n"
        "Again\n\n| run | acc |\n| --- | ---: |\n\nOne note.\n\nAnother.\n"
    )


def test_people_see_every_cell_and_note() -> None:
    console = Console(file=io.StringIO(), width=60)
    TABLE.show(["A note."], console)
    text = console.file.getvalue()
    for part in ("run", "acc", "mlp", "0.9", "conv", "0.8", "A note.\n"):
        assert part in text


def test_cells_are_found_by_row_and_column() -> None:
    assert TABLE.cells() == {"mlp": {"acc": "0.9"}, "conv": {"acc": "0.8"}}


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([0.98534], 4, "0.9853"),
        ([0.98534], 2, "0.99"),
        ([1.0, 2.0, 3.0], 4, "2.0000 ± 1.0000"),
        ([0.25, 0.75], 3, "0.500 ± 0.354"),
    ],
)
def test_a_mean_with_its_spread(values: list[float], digits: int, expected: str) -> None:
    assert tables.mean_and_spread(values, digits) == expected
