"""Checkpoints: what is saved comes back, and what is damaged is seen."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.harness.checkpoint import Checkpoint, Checkpoints, Measured
from experiments.harness.errors import UserError
from experiments.harness.training import TrainState

# Orbax stops reading at the first damaged file, and its threads then find their event loop closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS = {"model": "line", "seeds": [0, 1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def saved(folder: Path) -> Iterator[Checkpoints]:
    saved = Checkpoints(folder, SETTINGS)
    yield saved
    saved.close()


def tree_of(value: float) -> Any:
    w = jnp.full((2, 300, 7), value) + jax.random.normal(jax.random.key(int(value)), (2, 300, 7))
    return {"state": TrainState({"w": w}, {"n": jnp.full(2, value, jnp.int32)}, ()), "x": np.array(value / 3)}


def like() -> Any:
    return jax.tree.map(np.zeros_like, tree_of(0))


def checkpoint_of(step: int, value: float | None = None) -> Checkpoint:
    tree = tree_of(step if value is None else value)
    records = [{"step": step, "seed": seed, "loss": 1 / (step + seed + 3)} for seed in (0, 1)]
    return Checkpoint(Measured(step, step / 7, records), tree)


def refuse(line: str) -> None:
    raise AssertionError(line)


def assert_equal(got: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert jax.tree.structure(got) == jax.tree.structure(expected)


def big_files(step: Path) -> list[Path]:
    """The files with the numbers: most of the bytes of a checkpoint."""
    return [path for path in step.rglob("*") if path.is_file() and path.stat().st_size > 5_000]


def flip(step: Path) -> None:
    for path in big_files(step):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def truncate(step: Path) -> None:
    for path in big_files(step):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete_files(step: Path) -> None:
    for path in big_files(step):
        path.unlink()


def empty(step: Path) -> None:
    for path in step.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def delete_content(step: Path) -> None:
    shutil.rmtree(step / "tree")


def delete_records(step: Path) -> None:
    shutil.rmtree(step / "measured")


def another_number(step: Path) -> None:
    """A digit of a metric, which leaves valid JSON."""
    (path,) = (step / "measured").glob("metadata")
    text = path.read_text()
    assert "0.2" in text
    path.write_text(text.replace("0.2", "0.3", 1))


DAMAGES = [flip, truncate, delete_files, empty, delete_content, delete_records, another_number]


def test_what_is_saved_comes_back(saved: Checkpoints) -> None:
    saved.save(checkpoint_of(100))
    assert_equal(saved.restore(like(), refuse), checkpoint_of(100))


def test_an_empty_folder_has_nothing_to_go_on_from(saved: Checkpoints) -> None:
    assert saved.restore(like(), refuse) is None


def test_the_last_two_are_kept_and_the_newest_is_used(saved: Checkpoints, folder: Path) -> None:
    for step in (500, 1_000, 10_000, 10_500):
        saved.save(checkpoint_of(step))
    assert sorted(path.name for path in folder.iterdir()) == ["10000", "10500"]
    assert_equal(saved.restore(like(), refuse), checkpoint_of(10_500))


def test_another_process_finds_them(saved: Checkpoints, folder: Path) -> None:
    saved.save(checkpoint_of(5))
    other = Checkpoints(folder, SETTINGS)
    assert_equal(other.restore(like(), refuse), checkpoint_of(5))
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_one_the_one_before_is_used(damage: Callable[[Path], None], folder: Path) -> None:
    saved = Checkpoints(folder, SETTINGS)
    saved.save(checkpoint_of(1))
    saved.save(checkpoint_of(2))
    saved.close()
    assert big_files(folder / "2")
    damage(folder / "2")
    lines: list[str] = []
    again = Checkpoints(folder, SETTINGS)
    assert_equal(again.restore(like(), lines.append), checkpoint_of(1))
    (line,) = lines
    assert line.startswith("The checkpoint of step 2 is damaged (")
    assert line.endswith("); it is put aside.")
    assert "\n" not in line
    # It is out of the way, but not lost, and its step can be saved anew.
    assert sorted(path.name for path in folder.iterdir()) == ["1", "damaged-2"]
    again.save(checkpoint_of(2, 3))
    assert_equal(again.restore(like(), refuse), checkpoint_of(2, 3))
    again.close()


def test_if_all_are_damaged_they_are_left_as_they_are(saved: Checkpoints, folder: Path) -> None:
    """What can't be read today may be read tomorrow."""
    for step in (1, 2):
        saved.save(checkpoint_of(step))
        flip(folder / str(step))
    with pytest.raises(UserError) as raised:
        saved.restore(like(), refuse)
    words = r"`--resume` needs a checkpoint that can be read, but those in \S* are damaged \(step 2: .*, step 1: .*\); "
    assert re.fullmatch(words + "bring back copies of them, or begin anew with --overwrite .*", str(raised.value))
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_what_was_measured_can_be_read_alone(saved: Checkpoints, folder: Path) -> None:
    assert saved.read_measured() is None
    saved.save(checkpoint_of(1))
    saved.save(checkpoint_of(2))
    shutil.rmtree(folder / "2" / "tree")
    assert saved.read_measured() == checkpoint_of(2).measured
    another_number(folder / "2")
    with pytest.raises(
        UserError, match=r"^The checkpoint of step 2 in .* is damaged \(it is not .*\); --resume goes on"
    ):
        saved.read_measured()


def as_another_step(folder: Path) -> None:
    (folder / "1").rename(folder / "2")


def of_another_run(folder: Path) -> None:
    other = Checkpoints(folder, {**SETTINGS, "seeds": [0, 2]})
    other.save(checkpoint_of(2))
    other.close()


@pytest.mark.parametrize("swap", [as_another_step, of_another_run])
def test_what_was_saved_otherwise_is_seen_by_the_seal(folder: Path, swap: Callable[[Path], None]) -> None:
    saved = Checkpoints(folder, SETTINGS)
    saved.save(checkpoint_of(1))
    saved.close()
    swap(folder)
    lines: list[str] = []
    reason = "it is not what was saved under this step and these settings"
    again = Checkpoints(folder, SETTINGS)
    if swap is as_another_step:
        with pytest.raises(UserError, match=rf"damaged \(step 2: {reason}\); bring back"):
            again.restore(like(), lines.append)
    else:
        found = again.restore(like(), lines.append)
        assert found is not None
        assert found.measured.step == 1
        assert lines == [f"The checkpoint of step 2 is damaged ({reason}); it is put aside."]
    again.close()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_seal_sees_the_last_bit_of_every_leaf(folder: Path, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves, structure = jax.tree.flatten(jax.tree.map(np.array, tree_of(1)))
    leaves[index].reshape(-1).view(np.uint8)[0] ^= 1
    altered = jax.tree.unflatten(structure, leaves)
    saved = Checkpoints(folder, SETTINGS)
    honest = saved._args.StandardSave
    # As if the numbers had changed where Orbax does not look.
    monkeypatch.setattr(saved._args, "StandardSave", lambda _: honest(altered))
    saved.save(checkpoint_of(1))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"damaged \(step 1: it is not what was saved"):
        saved.restore(like(), refuse)
    saved.close()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"checkpoints could not be written \(Not a directory\); name another --out\.$"):
        Checkpoints(tmp_path / "file" / "checkpoints", SETTINGS)


FULL = r"\(No space left on device\); make room there, or name another --out\.$"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), FULL),
        # As the storage below Orbax says it, and what it says where a folder is deleted while it is written to.
        (ValueError("RESOURCE_EXHAUSTED: a\nb [os_error_code='28']"), FULL),
        (ValueError("NOT_FOUND: Error writing a/0\nin a database"), r"\(not found\); name another --out\.$"),
    ],
    ids=["full", "full, of the storage", "deleted, of the storage"],
)
def test_what_cannot_be_written_is_one_line(
    saved: Checkpoints, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(saved._manager, "save", fail)
    with pytest.raises(UserError, match=f"checkpoints could not be written {words}"):
        saved.save(checkpoint_of(1))


def test_a_mistake_of_ours_is_no_full_disk(saved: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("the tree is not fit to be saved")

    monkeypatch.setattr(saved._manager, "save", fail)
    with pytest.raises(ValueError, match="is not fit"):
        saved.save(checkpoint_of(1))
