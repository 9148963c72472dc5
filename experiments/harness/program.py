"""A program from its command line to its exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from rich.console import Console

from experiments.harness import config
from experiments.harness.console import make_console
from experiments.harness.errors import AgreedError, UserError
from experiments.harness.processes import attendant, link, watch

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
        The exit status: 0, 2 for what the user can mend, 130 after Ctrl-C, 1 for a bug in one of several processes.
    """
    console, module = make_console(), sys.modules[work.__module__]
    # Of a module that is run, `__name__` is "__main__"; its spec has the name by which it was found.
    name = (module.__spec__.name if module.__spec__ else module.__name__).removesuffix(".__main__")
    try:
        cfg = config.parse(config_class, args, prog=f"python -m {name}", description=module.__doc__ or "")
        # Arguments given by a caller are not those of the command, which an attendant would repeat.
        if getattr(cfg, "distributed", False) and args is None and not link.take_up():
            attendant.become()
        work(cfg, console)
    except UserError as error:
        if not isinstance(error, AgreedError):
            watch.fail(f"has failed: {error}")
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        watch.fail("was stopped by its user")
        print("\nStopped." + (GOES_ON if hasattr(config_class, "resume") else ""), file=sys.stderr)
        return 130
    except SystemExit as end:
        if not watch.joined():  # After `--help`.
            raise
        return int(end.code or 0)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        if not watch.fail(f"has failed: {type(error).__name__}: {first_line}"):
            raise
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End the program: together with the other processes, if any; after Ctrl-C or a failure among others at once.

    Threads of XLA and of the readers may then be at work still, and an orderly end of the interpreter would pull the
    ground from under them: a segmentation fault. All files are closed by then.
    """
    together = False
    if status != 130:
        try:
            together = watch.finish()
        except KeyboardInterrupt:
            status = 130
            watch.fail("was stopped by its user")
    if not together:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
