"""The command line: every mistake is one sentence, and the help explains every flag."""

import dataclasses
import inspect
import io
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from experiments import plot_results
from experiments.harness import config, occupied
from experiments.harness.errors import UserError
from experiments.mnist import __main__ as mnist
from experiments.preprocessing import __main__ as preprocessing
from experiments.speedrun import __main__ as speedrun
from experiments.studies.depth import __main__ as depth


@dataclasses.dataclass(frozen=True)
class Config:
    models: tuple[Literal["mlp", "conv"], ...] = ("mlp", "conv")
    """Which models."""
    steps: int | None = None
    """How long."""
    rate: float = 0.1
    """How fast."""
    shapes: tuple[int, ...] = ()
    """Which shapes."""
    out: Path = Path("results")
    """Where to."""
    resume: bool = False
    """Whether to go on."""


def parse(*args: str) -> Config:
    return config.parse(Config, args, prog="python -m program", description="What it does.")


def test_no_flags_give_the_defaults() -> None:
    assert parse() == Config()


def test_flags_give_their_values() -> None:
    got = parse("--models", "conv", "--steps", "7", "--rate", "0.5", "--out", "a/b", "--resume")
    assert got == Config(("conv",), 7, 0.5, (), Path("a/b"), True)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--bogus", "3"], "Unrecognized options: --bogus, 3"),
        (["stray"], "Unrecognized options: stray"),
        (["--stepss", "3"], "Unrecognized options: --stepss, 3 (similar: --steps)"),
        (["--step", "3", "--model"], "Unrecognized options: --step, 3, --model (similar: --models, --steps)"),
        (["--models", "resnet"], "invalid choice 'resnet' for argument '--models'. Expected one of ('mlp', 'conv')"),
        (
            ["--models", "mlp,conv"],
            "invalid choice 'mlp,conv' for argument '--models'. Expected one of ('mlp', 'conv')",
        ),
        (["--steps", "many"], "`--steps` must be INT, got ['many']"),
        (["--steps", "1.5"], "`--steps` must be INT, got ['1.5']"),
        (["--steps="], "`--steps` must be INT, got ['']"),
        (["--steps", "None"], "`--steps` must be INT, got ['None']"),
        (["--rate", "fast"], "`--rate` must be FLOAT, got 'fast'"),
        (["--shapes", "1", "x"], "`--shapes` must be [INT [INT ...]], got ['1', 'x']"),
        (["--steps"], "Missing value for argument '--steps'. Expected 1 values"),
        (["--out"], "Missing value for argument '--out'. Expected 1 values"),
        (["--resume", "maybe"], "Unrecognized options: maybe"),
        (["--no-resume"], "Unrecognized options: --no-resume (similar: --resume)"),
        (["--bogus", "1", "--steps", "many"], "Unrecognized options: --bogus, 1"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(
    args: list[str], words: str, encoding: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The box around the error depends on what the output can show.
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(UserError) as raised:
        parse(*args)
    assert str(raised.value) == f"{words}; see `python -m program --help`."
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("main", "cls"),
    [(module.main, module.Config) for module in (mnist, plot_results, preprocessing, speedrun, depth)],
    ids=["mnist", "plot_results", "preprocessing", "speedrun", "depth"],
)
def test_the_help_explains_every_flag(main: Any, cls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    # Without the frame and the breaks of lines.
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())
    # What a class says counts before what its base says.
    sources = "\n".join(inspect.getsource(base) for base in cls.__mro__[:-1])
    for field in dataclasses.fields(cls):
        flag = "--" + field.name.replace("_", "-")
        explanation = re.search(rf"{field.name}: .*\n    \"\"\"(.*?)\"\"\"", sources)
        assert explanation, field.name
        assert re.search(rf"{flag}\b.{{0,90}} {re.escape(explanation[1])}", words), field.name


def test_numbers_have_bounds() -> None:
    config.require_at_least("--steps", 1, 1)
    config.require_at_most("--seed", 9, 9)
    with pytest.raises(UserError, match=r"^`--steps` must be at least 1, got 0\.$"):
        config.require_at_least("--steps", 0, 1)
    with pytest.raises(UserError, match=r"^`--seed` must be at most 9, got 10\.$"):
        config.require_at_most("--seed", 10, 9)


def test_a_writable_folder_is_made_occupied_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        config.require_writable("--out", folder)
        assert [path.name for path in folder.iterdir()] == [".running"]
        occupied.leave_all()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), [("file", "File exists"), ("file/below", "Not a directory")])
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("precious")
    folder = tmp_path / name
    expected = f"`--out` must be a folder that can be written, got {folder} ({reason}); name another one."
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        config.require_writable("--out", folder)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # Permissions do not bind root, as whom tests may run.
    monkeypatch.setattr(config.tempfile, "TemporaryFile", fail)
    with pytest.raises(UserError, match=r"\(Permission denied\); name another one\.$"):
        config.require_writable("--out", tmp_path)
