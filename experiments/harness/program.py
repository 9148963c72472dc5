"""A program from its command line to its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from rich.console import Console

from experiments.harness import config
from experiments.harness.console import make_console
from experiments.harness.errors import UserError

T = TypeVar("T")
GOES_ON = " Every finished evaluation is kept; the same command with --resume goes on."


def run(config_class: type[T], args: Sequence[str] | None, work: Callable[[T, Console], None]) -> int:
    """Read the command line, and do the work.

    Args:
        config_class: as in `config.parse`.
        args: as in `config.parse`.
        work: what to do with the configuration and a console. Its module is the program: `--help` shows the module's
            docstring, and its name as in `python -m name`.

    Returns:
        The exit status: 0, 2 for what the user can mend, 130 after Ctrl-C.
    """
    console, module = make_console(), sys.modules[work.__module__]
    # Of a module that is run, `__name__` is "__main__"; its spec has the name by which it was found.
    name = (module.__spec__.name if module.__spec__ else module.__name__).removesuffix(".__main__")
    try:
        work(config.parse(config_class, args, prog=f"python -m {name}", description=module.__doc__ or ""), console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped." + (GOES_ON if hasattr(config_class, "resume") else ""), file=sys.stderr)
        return 130
    return 0


def leave(status: int) -> NoReturn:
    """End the program, after Ctrl-C at once.

    Threads of XLA and of the readers may then be at work still, and an orderly end of the interpreter would pull the
    ground from under them: a segmentation fault. All files are closed by then.
    """
    if status == 130:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
