"""The stand-in counts as MNIST; its four files lie in a folder, and nothing else can be reached."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from experiments.harness.data import Mnist, arrays, decoding, idx
from experiments.harness.data.registry import NAMES, OfficialFile
from tests.experiments.harness.data.data_stand_in import CLOSED, md5s, stand_in


@pytest.fixture(autouse=True)
def mnist(monkeypatch: pytest.MonkeyPatch) -> Mnist:
    """Returns the stand-in, which now counts as the official data."""
    mnist = stand_in()
    monkeypatch.setattr(arrays, "MD5", md5s(mnist))
    return mnist


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Returns the default TFDS data directory, which does not exist yet; no network can be reached."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("JAXBN_MNIST_DIR", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "tfds"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, mnist: Mnist, tmp_path: Path) -> Path:
    """Returns a folder with the four files of the stand-in, which now count as the official ones."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = []
    for name, array in zip(NAMES, mnist, strict=True):
        content = gzip.compress(idx.encode(array))
        (folder / name).write_bytes(content)
        files.append(OfficialFile(name, CLOSED + name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(decoding, "official_files", lambda: files)
    return folder
