"""Servers on this machine, which tests ask in place of the network. They write no log, and a client may give up."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Handler(http.server.BaseHTTPRequestHandler):
    """To be told what to answer."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # A client that gives up breaks the connection.


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yields the address."""
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
