"""Markers in the docs: tables are pasted, figures copied, and nothing outside the project is touched."""

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
