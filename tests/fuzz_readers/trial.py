"""One case: a damaged file is read, and what comes of it is judged."""

import random

from tests.fuzz_readers.damage import damaged
from tests.fuzz_readers.readers import Reader, WrongError

RIGHT = "right"


def content_of(reader: Reader, name: str, seed: int, case: int) -> bytes:
    """The damaged file of a case, the same in every process."""
    return damaged(random.Random(f"{seed} {name} {case}"), reader.good)


def outcome(reader: Reader, content: bytes) -> str:
    """`right`, or the name of the error that the reader may raise; other errors are raised."""
    if reader.place is not None:
        reader.place.write_bytes(content)
    try:
        reader.read(*(() if reader.place else (content,)))
    except reader.errors as error:
        if isinstance(error, WrongError | MemoryError):
            raise
        return type(error).__name__
    finally:
        # Others may read it, as one of several.
        if reader.place is not None:
            reader.place.write_bytes(reader.good)
    return RIGHT
