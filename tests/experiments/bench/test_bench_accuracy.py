"""The bench of exactness: what it measures is the error against float64, and it keeps what it prints."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import accuracy
from tests import reference


def test_the_yardstick_is_the_reference() -> None:
    rng = np.random.default_rng(0)
    x, cotangent = (rng.standard_normal((8, 4, 4, 3)).astype(np.float32) for _ in range(2))
    y, gradient = accuracy.exact(x, cotangent)
    np.testing.assert_allclose(y, reference.batch_norm(x), rtol=1e-12)
    np.testing.assert_allclose(gradient, reference.gradient(x, cotangent, 1.0)[0], rtol=1e-9, atol=1e-12)


def test_errors_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def off_by(error: float) -> object:
        def layer(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            y, gradient = accuracy.exact(x, cotangent)
            return y + error, gradient + error * np.abs(gradient).max()

        return layer

    x = np.random.default_rng(0).standard_normal(accuracy.SHAPE).astype(np.float32)
    monkeypatch.setattr(accuracy, "inputs", lambda: {"noise": x})
    monkeypatch.setattr(accuracy, "layers", lambda *_: {"ours": off_by(0.25), "theirs": off_by(0.5)})
    assert accuracy.main(["--out", str(tmp_path)]) == 0
    text = (tmp_path / "summary.md").read_text()
    assert text in capsys.readouterr().out
    table = "| input | ours | theirs |\n| --- | ---: | ---: |\n| noise | 2.5e-01 | 5.0e-01 |"
    assert text == f"{accuracy.OUTPUT}\n\n{table}\n\n{accuracy.GRADIENT}\n\n{table}\n"
    measured = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert measured[accuracy.OUTPUT] == {"noise": {"ours": "2.5e-01", "theirs": "5.0e-01"}}
