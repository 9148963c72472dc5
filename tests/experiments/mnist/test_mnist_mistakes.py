"""What the main program says to bad input: one line before any work, and earlier results stay as they are."""

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.harness.errors import UserError
from experiments.mnist import __main__ as mnist

BAD = {
    "unknown model": (["--models", "resnet"], "invalid choice 'resnet' for argument '--models'"),
    "no model": (["--models"], "`--models` must name at least one of mlp-bn, mlp, conv-bn, conv."),
    "unknown flag": (["--epochs", "3"], "Unrecognized options: --epochs, 3"),
    "no number": (["--steps", "many"], "`--steps` must be INT, got ['many']"),
    "no steps": (["--steps", "0"], "`--steps` must be at least 1, got 0."),
    "negative steps": (["--steps", "-5"], "`--steps` must be at least 1, got -5."),
    "no seeds": (["--seeds", "0"], "`--seeds` must be at least 1, got 0."),
    "negative seeds": (["--seeds", "-1"], "`--seeds` must be at least 1, got -1."),
    "negative seed": (["--seed", "-1"], "`--seed` must be at least 0, got -1."),
    "huge seed": (["--seed", "99999999999999999999"], "`--seed` must be at most 4294967295, got 99999999999999999999."),
    "last seed too large": (["--seed", str(2**32 - 1), "--seeds", "2"], "`--seed` must be at most 4294967294, got "),
    "no devices": (["--devices", "0"], "`--devices` must be at least 1, got 0."),
    "more devices than there are": (["--devices", "64"], ", as many as JAX finds, got 64;"),
    "an odd number of devices": (["--devices", "3"], "`--devices` must divide the 64 examples of a batch, got 3;"),
    "a process alone": (["--process-id", "0"], "`--process-id` is for several processes;"),
    "a process that is not told of the others": (
        ["--distributed", "--process-id", "0"],
        "`--process-id` must be given together, got --process-id alone;",
    ),
    "an earlier run": ([], "has conv (stopped at step 0 of 5,000); add --resume"),
    "other settings": (
        ["--resume", "--models", "mlp", "conv", "--steps", "7"],
        "`--resume` needs the settings of the earlier run in ",
    ),
}


def say_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", said.err), said.err


@pytest.mark.parametrize(("args", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    monkeypatch.setattr(mnist, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    (tmp_path / "summary.json").write_bytes(b"precious")
    (tmp_path / "conv").mkdir()
    (tmp_path / "conv" / "config.json").write_text('{"steps": 5000}')
    assert mnist.main(["--out", str(tmp_path), *args]) == 2
    say_one_line(capsys, words)
    assert (tmp_path / "summary.json").read_bytes() == b"precious"
    assert [path.name for path in (tmp_path / "conv").iterdir()] == ["config.json"]


def test_a_file_as_out_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("precious")
    assert mnist.main(["--out", str(tmp_path / "file")]) == 2
    say_one_line(capsys, "`--out`")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(("error", "status"), [(UserError("MNIST was found nowhere."), 2), (KeyboardInterrupt(), 130)])
def test_without_data_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Any, status: int
) -> None:
    monkeypatch.setattr(mnist, "load_kept", lambda *_, **__: (_ for _ in ()).throw(error))
    (tmp_path / "summary.json").write_bytes(b"precious")
    (tmp_path / "conv").mkdir()  # Or the summary would be another program's.
    assert mnist.main(["--out", str(tmp_path)]) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv", "summary.json"]
    assert not any((tmp_path / "conv").iterdir())
    assert (tmp_path / "summary.json").read_bytes() == b"precious"
