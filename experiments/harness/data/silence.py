"""Silence around TFDS, which prints, draws progress bars and warns that OpenCV would be faster."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drops what the body prints, warns and logs through absl; exceptions pass."""
    # absl must make its logger itself: one made before it by `getLogger` would have the wrong class.
    import absl.logging as _  # noqa: F401

    logger = logging.getLogger("absl")
    disabled = logger.disabled
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled
