"""Tables in the docs come from files that programs wrote."""

from experiments import docs

PAGE = """Before.

<!-- table: results/ops/summary.md: forward, float32 -->
| old | table |
| --- | --- |
<!-- end -->

Between, a `|` and <!-- a comment -->.

<!-- table: results/none/summary.md: times -->
| kept |
<!-- end -->
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
    return tmp_path


def test_a_block_gets_the_table_of_its_title(tmp_path, capsys):
    root = folder(tmp_path)
    assert docs.main(root) == 1
    new = (root / "docs/speed.md").read_text()
    assert new == PAGE.replace("| old | table |\n| --- | --- |\n", "| c | d |\n| --- | --- |\n| 3 | 4 |\n")
    said = capsys.readouterr()
    assert said.out == f"{root}/docs/speed.md: renewed\n"
    assert said.err == f"{root}/docs/speed.md: results/none/summary.md is not there; left as it is\n"
    assert docs.main(root) == 1
    assert capsys.readouterr().out == ""
    assert (root / "README.md").read_text() == "No table.\n"


def test_a_title_that_is_not_there_is_named(tmp_path, capsys):
    root = folder(tmp_path, PAGE.replace("forward, float32", "forward").split("Between")[0])
    assert docs.main(root) == 1
    assert "results/ops/summary.md has no table 'forward', but 'backward', 'forward, float32'; left" in (
        capsys.readouterr().err
    )


def test_some_rows_of_a_table(tmp_path, capsys):
    page = "<!-- table: results/ops/summary.md: times | y | x -->\n<!-- end -->\n"
    root = folder(tmp_path, page)
    rows = [f"| {name} | {i} |\n" for i, name in enumerate("xyz")]
    (root / "results/ops/summary.md").write_text("times\n\n| a | b |\n| --- | --- |\n" + "".join(rows))
    assert docs.main(root) == 0
    kept = (root / "docs/speed.md").read_text()
    assert kept == page.replace("-->\n<", "-->\n| a | b |\n| --- | --- |\n" + rows[1] + rows[0] + "<")
    (root / "docs/speed.md").write_text(page.replace("| y", "| w"))
    assert docs.main(root) == 1
    assert "the table 'times' of results/ops/summary.md has no row 'w'; left" in capsys.readouterr().err


def test_another_folder_is_one_line(tmp_path, capsys):
    assert docs.main(tmp_path / "none") == 2
    assert capsys.readouterr().err == f"`--root` must be the folder of README.md, got {tmp_path / 'none'}.\n"
