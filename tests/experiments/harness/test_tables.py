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


def test_names_stay_whole_and_sentences_leave_room_for_the_numbers() -> None:
    for first, whole in (
        ("a name of several words", True),
        ("a sentence that is longer than all the others here", False),
    ):
        console = Console(file=io.StringIO(), width=60)
        table = TABLE._replace(
            header=["", "of the first kind", "of the second"], rows=[[first, "0.123456", "0.654321"]]
        )
        table.show([], console)
        text = console.file.getvalue()
        assert (first in text) is whole
        assert "0.123456" in text
        assert "0.654321" in text


def test_a_sign_of_markdown_stands_for_itself() -> None:
    table = tables.Table("a|b", ["*c*"], [["<d>", "`e`", "[f](g)", "\\", "plain: x_1, 5 %"]]).escaped()
    assert table.title == "a\\|b"
    assert table.header == ["\\*c\\*"]
    assert table.rows == [["\\<d>", "\\`e\\`", "\\[f](g)", "\\\\", "plain: x_1, 5 %"]]


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
