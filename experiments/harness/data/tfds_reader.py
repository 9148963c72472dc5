"""A prepared TFDS data directory, read without TensorFlow and put back into the official order.

The reader of TFDS would import whatever modules `features.json` names. So only its hash and its messages are used.
"""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import array_record_shard, tfrecord
from experiments.harness.data.arrays import Mnist, verify
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.silence import silence
from experiments.harness.errors import UserError
from experiments.harness.files import MOST_BYTES_OF_JSON, read_at_most, size_at_most

FOLDER = Path("mnist", "3.0.1")
# Of one split: the bytes are three times what its PNGs need.
MOST_BYTES, MOST_IMAGES = 1 << 26, 60_000


def read_prepared(data_dir: Path) -> Mnist:
    """Returns MNIST from `mnist/3.0.1` in a TFDS data directory.

    Args:
        data_dir: the TFDS data directory; array_record and TFRecord shards are read.

    Returns:
        The verified arrays, in the official order.

    Raises:
        DamagedDataError: the directory does not hold exactly the official data.
        UserError: a shard has not been read, as in `array_record_shard.records`.
    """
    with silence():
        try:
            folder = data_dir / FOLDER
            info = json.loads(read_at_most(folder / "dataset_info.json", MOST_BYTES_OF_JSON))
            return verify(Mnist(*_split(folder, info, "train"), *_split(folder, info, "test")))
        except (ImportError, MemoryError, DamagedDataError, UserError):
            raise
        # Broken bytes make the readers raise whatever they stumble over.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedDataError(f"{type(error).__name__}: {reason}") from error


def _split(folder: Path, info: dict[str, Any], split: str) -> tuple[np.ndarray, np.ndarray]:
    # One image costs the feature decoder of TFDS 70 us, parsing and Pillow alone 27 us.
    from PIL import Image
    from tensorflow_datasets.core.hashing import Hasher
    from tensorflow_datasets.proto import tf_example_pb2

    protocol: Any = tf_example_pb2  # Filled at run time, out of a type checker's sight.
    records = _records(folder, info, split)
    # TFDS sorts the examples of a split by the hash of their key, here the official index.
    hasher = Hasher(split)
    order = sorted(range(len(records)), key=hasher.hash_key)
    images = np.empty((len(records), 28, 28), np.uint8)
    labels = np.empty(len(records), np.uint8)
    for index, record in zip(order, records, strict=True):
        features = protocol.Example.FromString(record).features.feature
        with Image.open(io.BytesIO(features["image"].bytes_list.value[0]), formats=["PNG"]) as image:
            if image.size != (28, 28):  # Known before it is unpacked.
                raise DamagedDataError(f"an image of {split} has {image.width} x {image.height} pixels")
            images[index] = np.asarray(image)
        labels[index] = features["label"].int64_list.value[0]
    return images, labels


def _records(folder: Path, info: dict[str, Any], split: str) -> list[bytes]:
    # TFRecord is what TFDS wrote before it could write anything else.
    suffix = info.get("fileFormat", "tfrecord")
    read = {"array_record": _of_array_record, "tfrecord": _of_tfrecord}[suffix]
    (shards,) = (len(of_one["shardLengths"]) for of_one in info["splits"] if of_one["name"] == split)
    left, records = MOST_BYTES, list[bytes]()
    for shard in range(shards):
        path = folder / f"mnist-{split}.{suffix}-{shard:05}-of-{shards:05}"
        left -= size_at_most(path, left)
        records.extend(read(path))
        if len(records) > MOST_IMAGES:
            raise DamagedDataError(f"{split} has {len(records):,} images, expected at most {MOST_IMAGES:,}")
    return records


def _of_tfrecord(path: Path) -> list[bytes]:
    # An empty record takes 16 bytes of the file, and an image of it 784.
    return list(itertools.islice(tfrecord.records(path.read_bytes()), MOST_IMAGES + 1))


def _of_array_record(path: Path) -> list[bytes]:
    return array_record_shard.records(path, MOST_IMAGES, MOST_BYTES)
