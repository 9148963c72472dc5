"""The console writes to whatever stands in for the standard output."""

import io
import types

import pytest

from experiments.harness.console import make_console


def test_a_sign_that_the_encoding_lacks_costs_that_sign_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    make_console().print("0.1 ± 0.2 µs, as predicted")
    assert written.getvalue() == b"0.1 ? 0.2 ?s, as predicted\n"


def raising() -> bool:
    raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("more", [{}, {"isatty": raising}], ids=["without the question", "closed"])
def test_what_cannot_say_whether_it_is_a_terminal_is_none(
    more: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sys.stdout", types.SimpleNamespace(write=said.append, flush=lambda: None, **more))
    console = make_console()
    console.print("a line")
    assert not console.is_terminal
    assert "".join(said) == "a line\n"
