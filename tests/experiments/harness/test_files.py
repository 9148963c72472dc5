"""Files: whole or not at all, and said in one line where they can't be read."""

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import files
from experiments.harness.errors import UserError


def test_json_comes_back_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    files.write_json(path, {"mean": [0.1, 2], "name": "Jörg"})
    assert files.read_json(path) == {"mean": [0.1, 2], "name": "Jörg"}
    assert path.read_text().endswith("}\n")
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("stage", ["write_text", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    path = tmp_path / "summary.md"
    files.write_text(path, "old")
    write = Path.write_text

    def fail(self: Path, *args: Any, **options: Any) -> None:
        if stage == "write_text":
            write(self, "half a fi")
        raise error

    monkeypatch.setattr(Path, stage, fail)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        files.write_text(path, "new and longer")
    if expected is UserError:
        assert str(raised.value) == (
            f"{path} could not be written (No space left on device); make room there, or name another --out."
        )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    files.write_text(path, "old")
    seen = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        seen.append((self.read_text(), path.read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    files.write_text(path, "new")
    assert seen == [("new", "old")]
    assert path.read_text() == "new"


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b'{"a": 1}\n{"a": 2}'])
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(path))} is not JSON \(.+\); delete it, or .* --out\.$"
    ) as raised:
        files.read_json(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["[]", '"text"', "1"])
def test_json_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is not JSON \(no object\); delete it"):
        files.read_json(tmp_path / "config.json")


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "no.json") is None


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not be read \(Is a directory\); delete it, or name another --out\.$"):
        files.read_json(tmp_path)
