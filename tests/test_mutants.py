"""The mistakes that `python -m tests.mutants` makes can be made of the sources as they are, and it counts right."""

import ast
from pathlib import Path

import pytest

from tests import mutants


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mistake_can_be_made(name: str, tmp_path: Path) -> None:
    for edit in mutants.MUTANTS[name].edits:
        (tmp_path / edit.file).write_text((mutants.ROOT / "jaxbn" / edit.file).read_text())
        mutants.make(edit, tmp_path)
        made = (tmp_path / edit.file).read_text()
        ast.parse(made)
        assert edit.new in made
        # What is gone can't be found.
        with pytest.raises(AssertionError, match="0 times"):
            mutants.make(edit, tmp_path)


def test_the_studies_are_found() -> None:
    names = {path.name for path in mutants.theorems()}
    assert {"test_identities.py", "test_ema_noise.py", "test_population.py"} <= names
    assert "test_all_studies.py" not in names


def test_what_stays_unnoticed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(mutants, "broken", lambda folder, name: folder / name)
    red = {("epsilon", "test_a"), ("epsilon", "test_b"), ("as it is", "test_b")}
    monkeypatch.setattr(mutants, "outcome", lambda tree, file, _: "red" if (tree.name, file.stem) in red else "")
    flags = ["--tests", "tests/test_a.py", "tests/test_b.py", "--only", "epsilon", "momentum", "--jobs", "1"]
    assert mutants.main([*flags, "--out", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert (tmp_path / "new" / "summary.md").read_text().splitlines() == said[:7]
    assert said[2:] == [
        "| tests | as it is | epsilon | momentum |",
        "| --- | ---: | ---: | ---: |",
        "| a |  | red |  |",
        "| b | red | red |  |",
        "| how many notice | 1 | 2 | 0 |",
        "",
        "1 of 2 mistakes are noticed.",
        "Unnoticed: momentum, momentum is the weight of the new value.",
        "Red without a mistake: tests/test_b.py.",
    ]
    assert mutants.main(["--tests", "tests/test_a.py", "--only", "epsilon", "--jobs", "1"]) == 0
