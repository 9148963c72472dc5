"""Where what is costly to make is kept between runs: a folder of ours in the user's cache folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`jaxbn` in `XDG_CACHE_HOME`, or in `~/.cache` where that is not set to an absolute path, as its rules demand."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "jaxbn"
