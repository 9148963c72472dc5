"""What reads files: of each, a good file, how it is read, and what it may answer."""

import contextlib
import dataclasses
import gzip
import hashlib
import importlib.util
import io
import json
import pickle
import struct
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from experiments.harness import files, study, study_report
from experiments.harness.data import Mnist, arrays, decoding, idx, kept, tfrecord, user_folder, wheel
from experiments.harness.data.errors import DamagedDataError, SourceError
from experiments.harness.data.registry import NAMES, OfficialFile
from experiments.harness.data.tfds_reader import FOLDER, read_prepared
from experiments.harness.errors import UserError
from experiments.real_weights import crepe
from tests.experiments.harness.data.data_stand_in import md5s
from tests.experiments.harness.data.prepared import prepare_as_tfrecord


class WrongError(AssertionError):
    """A reader has returned what is not right, without a word."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """One way to read a file.

    Attributes:
        good: the content of an undamaged file.
        read: reads it from its place; raises `WrongError` if what it finds is not right.
        place: where the content is written before; None if `read` takes the bytes themselves.
        errors: what it may raise instead.
    """

    good: bytes
    read: Callable[..., None]
    place: Path | None
    errors: tuple[type[Exception], ...]


def small() -> Mnist:
    """Eight images, of which each is one of few bytes, so that files are small."""
    draw = np.random.default_rng(0).integers
    numbers = Mnist(*(draw(0, 10, [n], np.uint8) for n in (6, 6, 2, 2)))
    images = [np.kron(draw(0, 256, [n, 7, 7], np.uint8), np.ones((1, 4, 4), np.uint8)) for n in (6, 2)]
    return numbers._replace(train_images=images[0], test_images=images[1])


@contextlib.contextmanager
def all_readers(folder: Path, *, prepared: bool) -> Iterator[dict[str, Reader]]:
    """Readers by name, as long as the small data stand in for those of MNIST.

    Args:
        folder: for their files.
        prepared: also those that need TFDS.
    """
    with contextlib.ExitStack() as stack:

        def patch(place: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(place, name, value))

        mnist = small()
        stack.enter_context(mock.patch.dict(arrays.MD5, md5s(mnist)))
        stack.enter_context(mock.patch.dict("os.environ", XDG_CACHE_HOME=str(folder / "cache")))
        readers = (
            _plain() | _json(folder) | _study(folder) | _official(folder, mnist, patch) | _wheel(folder, mnist, patch)
        )
        readers |= _kept(folder, mnist, patch) | _weights(folder, patch)
        yield readers | (_prepared(folder, mnist) if prepared else {})


def _require(right: bool) -> None:
    if not right:
        raise WrongError


def _same(got: Mnist, mnist: Mnist) -> None:
    _require(all(np.array_equal(left, right) for left, right in zip(got, mnist, strict=True)))


def _plain() -> dict[str, Reader]:
    """Formats without a checksum: what was read makes the very same bytes."""

    def read_idx(content: bytes) -> None:
        _require(idx.encode(idx.decode(content)) == content)

    def read_records(content: bytes) -> None:
        position = 0
        for record in tfrecord.records(content):
            _require(content[position : position + 8] == struct.pack("<Q", len(record)))
            _require(content[position + 12 :].startswith(record))
            position += 16 + len(record)
        _require(position == len(content))

    framed = [struct.pack("<QI", n, 0) + bytes(range(n)) + bytes(4) for n in (5, 0, 60, 17)]
    return {
        "idx": Reader(idx.encode(small().test_images), read_idx, None, (ValueError,)),
        "TFRecord": Reader(b"".join(framed), read_records, None, (ValueError,)),
    }


def _json(folder: Path) -> dict[str, Reader]:
    """Right is what Python's own parser makes of it, if it is of the kind that is asked for."""
    settings = {"seeds": [0, 1], "rate": 0.1, "name": "Jörg", "nested": {"a": None, "b": [True, 1e300]}}
    config = folder / "config.json"

    def read_config() -> None:
        got = files.read_json(config)
        _require(isinstance(got, dict) and json.dumps(got) == json.dumps(json.loads(config.read_bytes().decode())))

    return {
        "config.json": Reader(json.dumps(settings, indent=2).encode(), read_config, config, (UserError,)),
    }


def _study(folder: Path) -> dict[str, Reader]:
    """What is read of a finished study makes a report."""
    verdict = {"what": "w", "predicted": "p", "measured": "1", "interval": "1 to 2", "holds": True, "values": [1, 2]}
    summary = {"name": "a", "claim": "c", "source": "s", "minutes": 1, "settings": {"seeds": 2, "seed": 7}}
    summary |= {"verdicts": [verdict, verdict], "notes": ["n", "Source: s."], "device": "cpu", "versions": {"jax": "1"}}
    place = folder / "study" / "summary.json"
    place.parent.mkdir()
    (place.parent / study.figure_of("a")).touch()

    def read() -> None:
        got = study.read(place.parent, "a")
        if got is not None:
            _require(json.dumps(got) == json.dumps(json.loads(place.read_bytes().decode())))
            study_report.as_markdown({"a": got}, [])
            study_report.as_html({"a": got}, [], {"a": b""})

    return {"summary of a study": Reader(json.dumps(summary, indent=2).encode(), read, place, ())}


def _official(folder: Path, mnist: Mnist, patch: Callable[..., None]) -> dict[str, Reader]:
    packed = {name: gzip.compress(idx.encode(array)) for name, array in zip(NAMES, mnist, strict=True)}
    registered = [OfficialFile(name, "", len(of), hashlib.sha256(of).hexdigest()) for name, of in packed.items()]
    patch(decoding, "official_files", lambda: registered)
    (folder / "files").mkdir()

    def read() -> None:
        _same(user_folder.read_folder(folder / "files", "--data-dir"), mnist)

    for name, content in packed.items():
        (folder / "files" / name).write_bytes(content)
    return {"official file": Reader(packed[NAMES[2]], read, folder / "files" / NAMES[2], (UserError,))}


def _wheel(folder: Path, mnist: Mnist, patch: Callable[..., None]) -> dict[str, Reader]:
    images, labels = (lambda a: (a / np.float32(256)).astype("<f4").reshape(len(a), 784)), (lambda a: a.astype("<i8"))
    stored = [images(mnist.train_images[:4]), labels(mnist.train_labels[:4]), images(mnist.train_images[4:])]
    stored += [labels(mnist.train_labels[4:]), images(mnist.test_images), labels(mnist.test_labels)]
    pickled, places, begin = pickle.dumps(stored, 2), [], 0
    for array in map(np.ascontiguousarray, stored):
        # Python 2 pickled arrays as they lie in memory.
        pickled += array.tobytes()
        begin = len(pickled) - array.nbytes
        places.append((begin, array.dtype.str, array.size))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickled))
    good, path = file.getvalue(), folder / "mnist.whl"
    patch(wheel, "_PLACES", places)

    def read() -> None:
        with mock.patch.object(wheel, "SHA256", hashlib.sha256(good).hexdigest()):
            _same(wheel.read_wheel(path), mnist)

    def read_as_if_it_were_the_right_one() -> None:
        with mock.patch.object(wheel, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest()):
            _same(wheel.read_wheel(path), mnist)

    return {
        "wheel": Reader(good, read, path, (SourceError,)),
        # With the checksum no damage gets here; without it, it must only do no harm.
        "wheel without its checksum": Reader(good, read_as_if_it_were_the_right_one, path, (Exception,)),
    }


def _kept(folder: Path, mnist: Mnist, patch: Callable[..., None]) -> dict[str, Reader]:
    good, path = b"".join(map(idx.encode, mnist)), folder / "cache" / "jaxbn" / "mnist.idx"
    path.parent.mkdir(parents=True)
    patch(kept, "load_mnist", lambda **_: mnist)

    def read() -> None:
        _same(kept.load_kept(None), mnist)
        _require(path.read_bytes().startswith(good))

    return {"kept MNIST": Reader(good, read, path, ())}


def _weights(folder: Path, patch: Callable[..., None]) -> dict[str, Reader]:
    good, path = np.random.default_rng(0).bytes(500), folder / "assets" / "tiny.pth"
    path.parent.mkdir()
    spec = types.SimpleNamespace(submodule_search_locations=[str(folder)])
    patch(crepe, "SHA256", {"tiny": hashlib.sha256(good).hexdigest()})

    def load(file: io.BytesIO, **_: Any) -> dict[str, Any]:
        _require(file.read() == good)
        return {}

    torch = types.SimpleNamespace(load=load)

    def read() -> None:
        with (
            mock.patch.object(importlib.util, "find_spec", return_value=spec),
            mock.patch.dict("sys.modules", torch=torch),
        ):
            crepe.load("tiny")

    return {"weights of CREPE": Reader(good, read, path, (UserError,))}


def _prepared(folder: Path, mnist: Mnist) -> dict[str, Reader]:
    from experiments.harness.data.tfds_writer import prepare

    places = {"TFRecord": folder / "tfrecord", "array_record": folder / "array_record"}
    prepare_as_tfrecord(mnist, places["TFRecord"])
    prepare(mnist, places["array_record"], replace=False)

    def reader(kind: str, name: str) -> Reader:
        path = places[kind] / FOLDER / name
        return Reader(path.read_bytes(), lambda: _same(read_prepared(places[kind]), mnist), path, (DamagedDataError,))

    return {
        f"TFDS, {kind}: {part}": reader(kind, name)
        for kind in places
        for part, name in {
            "info": "dataset_info.json",
            "shard": f"mnist-train.{kind.lower()}-00000-of-00001",
        }.items()
    }
