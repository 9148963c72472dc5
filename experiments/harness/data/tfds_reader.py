"""A prepared TFDS data directory, read without TensorFlow and put back into the official order."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import tfrecord
from experiments.harness.data.arrays import Mnist, verify
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.silence import silence

NAME = "mnist:3.0.1"
FOLDER = Path("mnist", "3.0.1")


def read_prepared(data_dir: Path) -> Mnist:
    """Returns MNIST from `mnist/3.0.1` in a TFDS data directory.

    Args:
        data_dir: the TFDS data directory; array_record and TFRecord shards are read.

    Returns:
        The verified arrays, in the official order.

    Raises:
        DamagedDataError: the directory does not hold exactly the official data.
    """
    with silence():
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(NAME, data_dir=data_dir)
            return verify(Mnist(*_split(builder, "train"), *_split(builder, "test")))
        except (ImportError, MemoryError, DamagedDataError):
            raise
        # Broken bytes make the readers raise whatever they stumble over.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedDataError(f"{type(error).__name__}: {reason}") from error


def _split(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    # One image costs the feature decoder of TFDS 70 us, parsing and Pillow alone 27 us.
    from PIL import Image
    from tensorflow_datasets.core.hashing import Hasher
    from tensorflow_datasets.proto import tf_example_pb2

    protocol: Any = tf_example_pb2  # Filled at run time, out of a type checker's sight.
    records = _records(builder, split)
    # TFDS sorts the examples of a split by the hash of their key, here the official index.
    hasher = Hasher(split)
    order = sorted(range(len(records)), key=hasher.hash_key)
    images = np.empty((len(records), 28, 28), np.uint8)
    labels = np.empty(len(records), np.uint8)
    for index, record in zip(order, records, strict=True):
        features = protocol.Example.FromString(record).features.feature
        with Image.open(io.BytesIO(features["image"].bytes_list.value[0]), formats=["PNG"]) as image:
            images[index] = np.asarray(image)
        labels[index] = features["label"].int64_list.value[0]
    return images, labels


def _records(builder: Any, split: str) -> list[bytes]:
    import tensorflow_datasets as tfds

    if builder.info.file_format.value == "tfrecord":
        paths = builder.info.splits[split].filepaths
        return [record for path in paths for record in tfrecord.records(Path(path).read_bytes())]
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    source = builder.as_data_source(split, deserialize_method=raw)
    return source.__getitems__(range(len(source)))
