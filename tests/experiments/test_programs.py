"""Every program says what it is, on one screen and with an example, and is in the list of all."""

import importlib
import io
import shlex

import pytest

from experiments import __main__ as list_of_all
from experiments.harness import config, program
from tests.sources import programs

COLUMNS, LINES = 80, 40


def module_of(name):
    found = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(found, "__path__") else found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(programs()))
def test_help_fits_a_screen_and_its_example_parses(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    output = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr("sys.stdout", output)
    main = module_of(name).main
    with pytest.raises(SystemExit):
        main(["--help"])
    output.seek(0)
    usage, *lines = output.read().splitlines()
    assert usage.startswith(f"usage: python -m {name} [-h] ")
    assert max(map(len, lines)) <= COLUMNS
    assert 1 + len(usage) // COLUMNS + len(lines) <= LINES
    (example,) = [line for line in lines if line.startswith(f"    python -m {name}")]
    assert lines.index(example) < lines.index(next(line for line in lines if "-h, --help" in line))
    # The command is parsed, and nothing is run.
    monkeypatch.setattr(
        program, "run", lambda config_class, args, *_, **__: config.parse(config_class, args, prog="", description="")
    )
    assert main(shlex.split(example)[3:])


def listed(capsys, *args):
    status = list_of_all.main([*args])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_the_list_has_all_programs_and_no_others(capsys):
    status, lines, _ = listed(capsys)
    names = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert status == 0
    assert names == sorted(names)
    assert {f"experiments.{name}" for name in names} == programs() - {"experiments"}
    assert all(of.does for of in list_of_all.find_programs().values())
    # That one is for accelerators.
    assert [name for name, of in list_of_all.find_programs().items() if not of.takes] == ["bench.stack"]


def test_a_line_says_what_a_program_does_and_how_long_it_takes(capsys):
    _, lines, _ = listed(capsys, "mnist")
    assert lines[1].split("  ")[0] == "mnist"
    assert "under a minute  The tutorial's four MNIST runs" in lines[1]
    assert lines[2:] == ["", "The flags of one of them: python -m experiments.NAME --help"]


@pytest.mark.parametrize("part", ["studies", "studies.", "experiments.studies"])
def test_a_part_of_the_list(part, capsys):
    _, lines, _ = listed(capsys, part)
    names = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert names[0] == "studies"
    assert len(names) > 10
    assert all(name.startswith("studies.") for name in names[1:])


@pytest.mark.parametrize(("name", "similar"), [("nonsense", ""), ("studies.rnk", " (similar: studies.rank)")])
def test_an_unknown_name_is_one_line_with_what_there_is(name, similar, capsys):
    there = "bench, docs, mnist, plot_results, preprocessing, real_weights, reference, speedrun, studies"
    assert listed(capsys, name) == (2, [], f"error: no program is called {name}; there are {there}{similar}.\n")
