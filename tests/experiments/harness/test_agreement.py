"""What processes agree on; the others are texts here, and real ones in `test_mnist_processes.py`."""

import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.harness.errors import AgreedError, UserError
from experiments.harness.processes import agreement

Others = Callable[..., None]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    """What makes this process number `own` of three, the others of which say given texts."""

    def become(own: int, *texts: str) -> None:
        monkeypatch.setattr(jax, "process_count", lambda: 3)
        monkeypatch.setattr(jax, "process_index", lambda: own)
        monkeypatch.setattr(agreement, "_gather", lambda text: [*texts[:own], text, *texts[own:]])

    return become


def fail() -> int:
    raise UserError("The disk is full.")


def refuse() -> int:
    raise AssertionError("not here")


def test_a_single_process_calls_functions() -> None:
    assert (agreement.in_all(lambda: 3), agreement.in_first(lambda: 4)) == (3, 4)
    like = {"w": np.zeros(2)}
    assert agreement.from_first(lambda: {"w": [1]}, like) == {"w": [1]}
    for call in (agreement.in_all, agreement.in_first, lambda function: agreement.from_first(function, like)):
        with pytest.raises(UserError, match=r"^The disk is full\.$"):
            call(fail)
    agreement.require_same({"--steps": 3})
    assert agreement.is_first()


def test_the_first_alone_calls(others: Others) -> None:
    others(1, "", "")
    assert agreement.in_first(refuse) is None
    assert agreement.in_all(lambda: 3) == 3
    others(0, "", "")
    assert agreement.in_first(lambda: 4) == 4


@pytest.mark.parametrize("own", [0, 1, 2])
def test_a_failure_in_one_ends_all(others: Others, own: int) -> None:
    texts = ["", "", "The disk is full."]
    del texts[own]
    others(own, *texts)
    with pytest.raises(UserError, match=r"^Process 2: The disk is full\.$"):
        agreement.in_all(fail if own == 2 else lambda: 3)


@pytest.mark.parametrize("own", [0, 1])
def test_what_fails_in_all_is_said_as_by_the_first(others: Others, own: int) -> None:
    others(own, "The disk is full.", "The disk is full.")
    with pytest.raises(UserError, match=r"^The disk is full\.$"):
        agreement.in_all(fail)


@pytest.mark.parametrize("own", [0, 2])
def test_a_flag_that_differs_is_named(others: Others, own: int) -> None:
    flags = [{"--models": ["mlp"], "--steps": steps} for steps in (3, 3, None)]
    mine = flags.pop(own)
    others(own, *map(json.dumps, flags))
    with pytest.raises(UserError) as raised:
        agreement.require_same(mine)
    assert str(raised.value) == (
        "`--steps` must be the same in all processes, got 3 in process 0 and None in process 2."
    )


def test_unequal_numbers_of_devices_are_refused_without_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(process_index=number) for number in (0, 1, 2, 0, 1)])
    monkeypatch.setattr(agreement, "_gather", refuse)
    with pytest.raises(UserError) as raised:
        agreement.require_same({})
    assert str(raised.value) == (
        "`--distributed` needs as many devices in each process, got 2 in process 0 and 1 in process 2."
    )


def test_the_first_alone_speaks(others: Others) -> None:
    own = Console(file=io.StringIO())
    with agreement.spoken_by_the_first(own) as console:
        assert console is own
    others(1)
    with agreement.spoken_by_the_first(own) as console:
        console.print("no word")
    with pytest.raises(SystemExit) as end, agreement.spoken_by_the_first(own):
        raise AgreedError("known to all")
    assert end.value.code == 2
    for error in (UserError("known here"), ZeroDivisionError("known here")):
        with pytest.raises(type(error), match="known here"), agreement.spoken_by_the_first(own):
            raise error
    assert own.file.getvalue() == ""  # type: ignore[attr-defined]


def test_what_one_sends_to_itself_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement, "_gather", lambda _: ["", ""])
    sent: list[Any] = []
    monkeypatch.setattr(agreement.multihost_utils, "broadcast_one_to_all", lambda tree: sent.append(tree) or tree)
    tree = {"n": np.array(-0.0), "w": np.arange(6.0, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 2), np.int8)}
    got = agreement.from_first(lambda: tree, jax.tree.map(np.zeros_like, tree))
    for leaf, expected in zip(jax.tree.leaves(got), jax.tree.leaves(tree), strict=True):
        assert (leaf.tobytes(), leaf.shape, leaf.dtype) == (expected.tobytes(), expected.shape, expected.dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(sent)} == {np.dtype(np.uint8)}
