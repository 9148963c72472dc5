"""Files: whole or not at all, and said in one line where they can't be read."""

import os
import re
import secrets
from collections.abc import Callable
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


@pytest.mark.parametrize("name", ["token", "process"])
def test_a_link_laid_where_the_file_is_made_is_not_written_through(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "x.json"
    victim.write_text("kept")
    # Even where the name is known; one by the number of the process was.
    monkeypatch.setattr(secrets, "token_hex", lambda _: "token")
    part = "token" if name == "token" else f"{os.getpid()}"
    (tmp_path / f".x.{part}.partial.json").symlink_to(victim)
    if name == "token":
        with pytest.raises(UserError, match=r"x\.json could not be written \(File exists\)"):
            files.write_text(path, "new")
    else:
        files.write_text(path, "new")
        assert path.read_text() == "new"
    assert victim.read_text() == "kept"


@pytest.mark.parametrize(
    ("umask", "before", "expected"),
    [(0o022, None, 0o644), (0o077, None, 0o600), (0o002, None, 0o664), (0o022, 0o600, 0o600), (0o022, 0o400, 0o600)],
)
def test_it_can_be_read_by_those_who_could_read_it_if_it_were_opened(
    umask: int, before: int | None, expected: int, tmp_path: Path
) -> None:
    path, seen = tmp_path / "x.md", []
    if before is not None:
        path.touch()
        path.chmod(before)
    usual = os.umask(umask)
    try:
        with files.whole_file(path) as partial:
            seen.append(partial.stat().st_mode & 0o777)
            partial.write_text("new")
    finally:
        os.umask(usual)
    # Nor could anyone else while it was made.
    assert [*seen, path.stat().st_mode & 0o777] == [expected, expected]


def test_two_names_of_files_in_the_making_differ(tmp_path: Path) -> None:
    with files.whole_file(tmp_path / "x.png") as one, files.whole_file(tmp_path / "x.png") as other:
        assert one != other
        assert {one.suffix, other.suffix} == {".png"}
        one.write_text("1")
        other.write_text("2")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b'{"a": 1}\n{"a": 2}', b'{"a":' * 10**5, b"9" * 5000])
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


@pytest.mark.parametrize(
    ("lay", "reason"),
    [
        (Path.mkdir, "Is a directory"),
        # Neither of these is opened: it would take all memory, or wait for ever.
        (lambda path: (path.touch(), os.truncate(path, 10**11)), "it has 100,000,000,000 bytes, more than 16,777,216"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_cannot_be_read_is_one_line(lay: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    lay(tmp_path / "x.json")
    with pytest.raises(UserError, match=rf"could not be read \({reason}\); delete it, or name another --out\.$"):
        files.read_json(tmp_path / "x.json")
