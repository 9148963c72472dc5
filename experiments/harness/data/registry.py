"""The four official files, as TFDS registers them: address, size and SHA-256."""

from typing import NamedTuple

from experiments.harness.data.silence import silence

# In the order of the fields of `Mnist`.
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class OfficialFile(NamedTuple):
    """One official file."""

    name: str
    url: str
    size: int
    sha256: str


def official_files() -> list[OfficialFile]:
    """Returns the four official files in the order of `NAMES`, looked up in TFDS."""
    with silence():
        from tensorflow_datasets.image_classification.mnist import MNIST

        # By name, not by address, so that MNIST.URL may name a mirror.
        infos = {url.rsplit("/", 1)[-1]: info for url, info in (MNIST.url_infos or {}).items()}
    return [OfficialFile(name, MNIST.URL + name, int(infos[name].size), infos[name].checksum) for name in NAMES]
