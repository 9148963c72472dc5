"""A program from its command line to its exit status."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from rich.console import Console

from experiments.harness import config, log, occupied, stopping
from experiments.harness.console import give_up_output, make_console, say
from experiments.harness.errors import AgreedError, UserError
from experiments.harness.processes import attendant, link, watch
from experiments.harness.progress import Stopped

T = TypeVar("T")
# Of JAX, of Python where it finds no stack, and of the loader of libraries.
_WANT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|can't start new thread|failed to map segment|Cannot allocate memory")


def run(
    config_class: type[T],
    args: Sequence[str] | None,
    work: Callable[[T, Console], None],
    *,
    goes_on: bool = False,
) -> int:
    """Read the command line, and do the work.

    Args:
        config_class: as in `config.parse`.
        args: as in `config.parse`.
        work: what to do with the configuration and a console. Its module is the program: `--help` shows the first two
            paragraphs of the module's docstring, what it does and an example, and its name as in `python -m name`.
        goes_on: without being told, the program goes on where it was stopped; others do with `--resume`, if they can.

    Returns:
        The exit status: 0, 2 for what the user can mend, 128 and the number of the signal that has stopped it (130
        after Ctrl-C), 1 for a bug in one of several processes.
    """
    try:
        try:
            return _run(config_class, args, work, goes_on=goes_on)
        finally:
            if args is None:
                stopping.ignore()
            occupied.leave_all()
    except stopping.Interrupted:
        # The signal came when the program was ending already; only the first one is raised.
        occupied.leave_all()
        return 128 + (stopping.asked() or signal.SIGINT)


def _run(
    config_class: type[T], args: Sequence[str] | None, work: Callable[[T, Console], None], *, goes_on: bool
) -> int:
    console, module = make_console(), sys.modules[work.__module__]
    # Of a module that is run, `__name__` is "__main__"; its spec has the name by which it was found.
    name = (module.__spec__.name if module.__spec__ else module.__name__).removesuffix(".__main__")
    way_on = _way_on(config_class, name, sys.argv[1:] if args is None else args, goes_on=goes_on)
    try:
        # Arguments given by a caller are not those of the process.
        if args is None:
            stopping.begin(way_on)
            log.divert()
        about = "\n\n".join((module.__doc__ or "").split("\n\n")[:2])
        cfg = config.parse(config_class, args, prog=f"python -m {name}", description=about)
        # An attendant would repeat the process's own.
        if getattr(cfg, "distributed", False) and args is None and not link.take_up():
            attendant.become()
        work(cfg, console)
    except (UserError, KeyboardInterrupt, Stopped) as error:
        # What fails after a signal, as the output does when its terminal is closed, is not what ended the program.
        if isinstance(error, UserError) and not stopping.asked():
            if not isinstance(error, AgreedError):
                watch.fail(f"has failed: {error}")
            say(f"error: {error}{log.mention()}")
            return 2
        watch.fail("was stopped by its user")
        say(f"\nStopped. {way_on}".rstrip())
        return 128 + (stopping.asked() or signal.SIGINT)
    except SystemExit as end:
        if not watch.joined():  # After `--help`.
            raise
        return int(end.code or 0)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        if _is_want_of_memory(error):
            watch.fail("has run out of memory")
            say(f"error: memory ran out ({first_line or 'MemoryError'}); free some, or ask for less, as by --seeds.")
            return 2
        if not watch.fail(f"has failed: {type(error).__name__}: {first_line}"):
            raise
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End the program: together with the other processes, if any; after a signal or a failure among others at once.

    Threads of XLA and of the readers may then be at work still, and an orderly end of the interpreter would pull the
    ground from under them: a segmentation fault. All files are closed by then.
    """
    together = False
    if status < 128:
        try:
            together = watch.finish()
            # The end of the interpreter takes a while, and would give the signals back their own statuses.
            stopping.ignore()
        except KeyboardInterrupt:
            status = 128 + (stopping.asked() or signal.SIGINT)
            watch.fail("was stopped by its user")
    give_up_output()
    if not together:
        os._exit(status)
    sys.exit(status)


def _way_on(config_class: type[object], name: str, args: Sequence[str], *, goes_on: bool) -> str:
    """What to type after a stop."""
    if goes_on:
        command = [arg for arg in args if arg != "--overwrite"]
    elif hasattr(config_class, "resume"):
        command = [*args] if "--resume" in args else [*args, "--resume"]
    else:
        return ""
    return f"What was finished is kept; to go on: {shlex.join(['python', '-m', name, *command])}"


def _is_want_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(_WANT_OF_MEMORY.search(str(error)))
