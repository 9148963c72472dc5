"""Nothing of what TFDS and TensorFlow say is heard, and everything afterwards."""

import logging
import sys
import warnings

import absl.logging
import pytest

from experiments.harness.data.silence import silence


def speak() -> None:
    print("printed")
    print("printed", file=sys.stderr)
    absl.logging.warning("logged")
    warnings.warn("warned", stacklevel=1)


def test_nothing_is_heard_inside(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with silence():
        speak()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_everything_is_heard_afterwards(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), silence():
        raise KeyError("passes")
    with pytest.warns(UserWarning, match="warned"):
        speak()
    out, err = capfd.readouterr()
    assert out == "printed\n"
    assert "printed\n" in err
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.WARNING, "logged")]
