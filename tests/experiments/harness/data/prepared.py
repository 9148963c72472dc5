"""A data set as TFDS prepares it where TensorFlow is installed, made from the definitions of its formats."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import Mnist
from experiments.harness.data.tfds_reader import FOLDER


def prepare_as_tfrecord(mnist: Mnist, data_dir: Path) -> None:
    folder = data_dir / FOLDER
    folder.mkdir(parents=True)
    splits = {"train": (mnist.train_images, mnist.train_labels), "test": (mnist.test_images, mnist.test_labels)}
    info = [{"name": split, "shardLengths": [str(len(labels))]} for split, (_, labels) in splits.items()]
    (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord", "splits": info}))
    for split, (images, labels) in splits.items():
        examples = [example(png(image.shape, image), int(label)) for image, label in zip(images, labels, strict=True)]
        write(folder / f"mnist-{split}.tfrecord-00000-of-00001", in_order_of_tfds(examples, split))


def png(shape: tuple[int, ...], image: np.ndarray) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", shape[1], shape[0], 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def example(image: bytes, label: int) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    made: Any = tf_example_pb2.Example()
    made.features.feature["image"].bytes_list.value.append(image)
    made.features.feature["label"].int64_list.value.append(label)
    return made.SerializeToString()


def in_order_of_tfds(examples: list[bytes], split: str) -> list[bytes]:
    from tensorflow_datasets.core.hashing import Hasher

    return [examples[index] for index in sorted(range(len(examples)), key=Hasher(split).hash_key)]


def write(path: Path, records: list[bytes]) -> None:
    path.write_bytes(b"".join(struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records))
