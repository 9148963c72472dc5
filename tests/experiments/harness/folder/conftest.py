"""A finished run, and copies of it."""

import shutil
from pathlib import Path

import pytest

from tests.experiments.harness.folder.line import start


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of an unbroken run, which nothing changes."""
    folder = tmp_path_factory.mktemp("whole") / "line"
    start(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Returns a copy of it."""
    return shutil.copytree(whole, tmp_path / "line")
