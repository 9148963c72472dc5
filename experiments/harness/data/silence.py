"""Silence around TFDS, which prints, draws progress bars and warns that OpenCV would be faster."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drops what the body prints, warns and logs, also from C++; exceptions pass."""
    # absl must make its logger itself: one made before it by `getLogger` would have the wrong class.
    import absl.logging as _  # noqa: F401

    logger = logging.getLogger("absl")
    disabled = logger.disabled
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _silent_descriptor(1),
        _silent_descriptor(2),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled


@contextlib.contextmanager
def _silent_descriptor(descriptor: int) -> Iterator[None]:
    """What C++ writes goes past Python's own streams."""
    try:
        kept = os.dup(descriptor)
    except OSError:  # It is closed.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
