"""The official download, given up as soon as it stalls (TFDS's own would retry for minutes)."""

import http.client
import queue
import threading
import urllib.request

from experiments.harness.data import patience
from experiments.harness.data.arrays import Mnist
from experiments.harness.data.decoding import read_official
from experiments.harness.data.errors import DamagedDataError, SourceError
from experiments.harness.data.registry import OfficialFile


def download_official() -> Mnist:
    """Returns MNIST from the official address that TFDS registers.

    Returns:
        The verified arrays.

    Raises:
        SourceError: the address cannot be reached, stalls, or sends something else.
    """
    try:
        return read_official(_download)
    except DamagedDataError as error:
        raise SourceError(str(error)) from error


def _download(file: OfficialFile) -> bytes:
    # A name look-up and a connection to many addresses have no common timeout, so a thread waits for them.
    chunks: queue.Queue[bytes | Exception] = queue.Queue()
    stopped = threading.Event()
    threading.Thread(target=_pump, args=(file, chunks, stopped), daemon=True).start()
    watch = patience.Patience(patience.STALL_SECONDS)
    content = bytearray()
    try:
        while True:
            try:
                chunk = chunks.get(timeout=watch.left())
            except queue.Empty:
                chunk = None
            if isinstance(chunk, Exception):
                raise SourceError(str(getattr(chunk, "reason", chunk))) from chunk
            if chunk == b"":
                break
            content += chunk or b""
            watch.observe(len(content))
    except SourceError as failure:
        raise SourceError(f"{file.url}: {failure}") from failure
    finally:
        stopped.set()
    return bytes(content)


def _pump(file: OfficialFile, chunks: "queue.Queue[bytes | Exception]", stopped: threading.Event) -> None:
    # One byte too many shows that it is another file, and no more than that is taken.
    left = file.size + 1
    try:
        with urllib.request.urlopen(file.url, timeout=patience.STALL_SECONDS) as response:
            while not stopped.is_set():
                chunk = response.read1(min(left, 1 << 16))
                chunks.put(chunk)
                if not chunk:
                    return
                left -= len(chunk)
    except (OSError, http.client.HTTPException, ValueError) as error:
        chunks.put(error)
