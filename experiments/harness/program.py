"""A program from its command line to its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console

from experiments.harness import config, timing
from experiments.harness.errors import UserError

T = TypeVar("T")


def run(
    config_class: type[T], args: Sequence[str] | None, name: str, description: str, work: Callable[[T, Console], None]
) -> int:
    """Read the command line, and do the work.

    Args:
        config_class: as in `config.parse`.
        args: likewise.
        name: of the module, as in `python -m name`.
        description: as in `config.parse`.
        work: what to do with the configuration and a console.

    Returns:
        The exit status: 0, 2 for what the user can mend, 130 after Ctrl-C.
    """
    console = timing.make_console()
    try:
        work(config.parse(config_class, args, prog=f"python -m {name}", description=description), console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = " Every finished evaluation is kept; the same command with --resume goes on."
        print("\nStopped." + goes_on * hasattr(config_class, "resume"), file=sys.stderr)
        return 130
    return 0
