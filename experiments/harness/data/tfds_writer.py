"""The making of a TFDS data directory by TFDS itself, whole or not at all, without TensorFlow."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data.arrays import Mnist
from experiments.harness.data.silence import silence
from experiments.harness.data.tfds_reader import FOLDER, read_prepared


def prepare(mnist: Mnist, data_dir: Path, *, replace: bool) -> None:
    """Prepares `mnist/3.0.1` in a TFDS data directory.

    The directory appears by one rename, after it was read back and checked. A process that is killed before
    leaves a folder `incomplete.*`, which nothing reads; of several processes at the same time, one wins and
    none fails.

    Args:
        mnist: the verified arrays.
        data_dir: the TFDS data directory, made if it is missing.
        replace: whether what lies at `mnist/3.0.1` is damaged and gives way.

    Raises:
        OSError: the directory cannot be written.
        DamagedDataError: what was written reads back as something else, as on a full disk.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="incomplete.mnist-", dir=data_dir, ignore_cleanup_errors=True) as temporary:
        _write(mnist, Path(temporary))
        read_prepared(Path(temporary))
        target = data_dir / FOLDER
        target.parent.mkdir(exist_ok=True)
        if replace and target.exists():
            target.rename(Path(temporary, "damaged"))
        try:
            Path(temporary, FOLDER).rename(target)
        except OSError:
            # Another process was first; what it made serves as well.
            if not target.exists():
                raise


def _write(mnist: Mnist, data_dir: Path) -> None:
    with silence(), _temporary_files_in(data_dir):
        import tensorflow_datasets as tfds
        from tensorflow_datasets.image_classification.mnist import MNIST

        builder: Any = MNIST(data_dir=data_dir)
        # In place of the builder's own, which needs TensorFlow to unpack the official files.
        builder._split_generators = lambda _: {
            "train": _examples(mnist.train_images, mnist.train_labels),
            "test": _examples(mnist.test_images, mnist.test_labels),
        }
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            builder.download_and_prepare(download_config=config, file_format="array_record")
        except RuntimeError as error:  # What array_record makes of a full disk, around the system's words.
            raise OSError(re.sub(r".*\(\) failed: ([^;]*).*", r"\1", " ".join(str(error).split()))) from error


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Every builder of TFDS leaves an empty folder behind where temporary files are made."""
    usual, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = usual


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    from PIL import Image

    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        # TFDS encodes an array by TensorFlow, but an image by Pillow.
        yield index, {"image": Image.fromarray(image), "label": int(label)}
