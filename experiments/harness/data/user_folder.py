"""A folder of the user's that holds the four official files."""

import os
from pathlib import Path

from experiments.harness.data.arrays import Mnist
from experiments.harness.data.decoding import read_official
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.registry import NAMES, OfficialFile
from experiments.harness.errors import UserError
from experiments.harness.files import read_at_most


def holds_official(folder: Path) -> bool:
    """Returns whether at least one of the four official files is there, that is, whether they are meant."""
    return any(os.path.exists(folder / name) for name in NAMES)


def read_folder(folder: Path, argument: str) -> Mnist:
    """Returns MNIST from the four official files in a folder, which is never written to.

    Args:
        folder: holds the files under their official names.
        argument: what the user named the folder by, for the error.

    Returns:
        The verified arrays.

    Raises:
        UserError: a file is missing, unreadable, truncated, longer or altered; the sentence names it.
    """

    def read(file: OfficialFile) -> bytes:
        try:
            return read_at_most(folder / file.name, file.size)
        except FileNotFoundError:
            raise UserError(
                f"`{argument}` must name a folder with the four official files of MNIST, but {file.name} "
                f"({file.size:,} bytes) is missing in {folder}: add this file or name another folder."
            ) from None
        except OSError as error:
            raise UserError(
                f"`{argument}` must name a folder with the four official files of MNIST, but in {folder} "
                f"the file {file.name} cannot be read ({error.strerror}): mend this or name another folder."
            ) from error

    try:
        return read_official(read)
    except DamagedDataError as error:
        raise UserError(
            f"`{argument}` must name a folder with the four official files of MNIST, but in {folder} "
            f"the file {error}: fetch this file again or name another folder."
        ) from error
