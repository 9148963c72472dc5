"""The official download: a file arrives, or the reason is told, soon where nothing is sent."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from experiments.harness.data import download, patience
from experiments.harness.data.errors import DamagedDataError, SourceError
from experiments.harness.data.registry import OfficialFile
from tests.experiments.harness.data.server import Handler, serving

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is; a test of what is given up takes a shorter time."""
    monkeypatch.setattr(patience, "STALL_SECONDS", 600.0)


class Source(Handler):
    """Serves `CONTENT`, badly if the path asks for it."""

    def do_GET(self) -> None:
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/trickle":
            for _ in range(1000):
                self.wfile.write(b"0")
                time.sleep(0.05)
        elif self.path == "/cut":
            self.wfile.write(CONTENT[:1000])
        else:
            self.wfile.write(CONTENT)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Source) as address:
        yield address


@contextmanager
def silent_address() -> Iterator[str]:
    """Yields the address of a server that accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def fetch(monkeypatch: pytest.MonkeyPatch, url: str, size: int = len(CONTENT)) -> object:
    file = OfficialFile("file.gz", url, size, "")
    monkeypatch.setattr(download, "read_official", lambda read: read(file))
    return download.download_official()


def test_a_file_arrives(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert fetch(monkeypatch, f"{address}/file.gz") == CONTENT


def test_an_absent_file_is_a_failure(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(SourceError, match=r"/absent: .*Not Found"):
        fetch(monkeypatch, f"{address}/absent")


def test_a_closed_port_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"127\.0\.0\.1.*refused"):
        fetch(monkeypatch, f"{closed_address()}/file.gz")


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STALL_SECONDS", 0.5)
    with silent_address() as address, pytest.raises(SourceError, match=r"no answer came in 0\.5 s|timed out"):
        fetch(monkeypatch, f"{address}/file.gz")


def test_a_trickling_server_is_given_up(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(patience, "STALL_SECONDS", 0.5)
    with pytest.raises(SourceError, match=r"only \d+ bytes arrived in 0\.5 s|no answer came in 0\.5 s"):
        fetch(monkeypatch, f"{address}/trickle")


def test_a_cut_connection_is_left_to_the_size_check(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert fetch(monkeypatch, f"{address}/cut") == CONTENT[:1000]


def test_no_more_is_taken_than_shows_that_the_file_is_another(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for size in (10, 1 << 16):
        assert fetch(monkeypatch, f"{address}/file.gz", size) == CONTENT[: size + 1]


def test_what_a_server_says_is_one_line_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Not\r\n\x1b[2JFound")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(SourceError, match=r"^http://a/b: Not   \[2JFound$"):
        fetch(monkeypatch, "http://a/b")


def test_other_data_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(read: object) -> None:
        raise DamagedDataError("file.gz has SHA-256 0, expected 1")

    monkeypatch.setattr(download, "read_official", refuse)
    with pytest.raises(SourceError, match=r"file\.gz has SHA-256 0, expected 1"):
        download.download_official()
