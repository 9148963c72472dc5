"""The settings of a program, read from the command line and checked before any work starts."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from experiments.harness import earlier, occupied
from experiments.harness.console import writing_output
from experiments.harness.errors import UserError

T = TypeVar("T")

# What is left out has its default: no `--no-resume` beside `--resume`, and no `None` to type.
_ONE_WAY = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of every program with results; a subclass adds its own and redefines what differs."""

    seeds: int = 1
    """How many seeds to train; mean and standard deviation are reported."""
    seed: int = 0
    """The first seed; the others follow it."""
    out: Path = Path("results")
    """The folder for all results."""
    overwrite: bool = False
    """Replace earlier results in that folder, as soon as there are new ones."""

    def all_seeds(self) -> list[int]:
        """The seeds, one by one."""
        return list(range(self.seed, self.seed + self.seeds))

    def check(self) -> None:
        """Refuse seeds that can't be told apart, and a folder that can't be written or has earlier results."""
        require_seeds(self.seed, self.seeds)
        require_writable("--out", self.out)
        self.check_earlier()

    def check_earlier(self) -> None:
        """Refuse to replace earlier results unasked."""
        earlier.require_no_summary(self.out, overwrite=self.overwrite)


@dataclasses.dataclass(frozen=True)
class MnistSettings(Settings):
    """The settings of a program that needs MNIST."""

    data_dir: Path | None = None
    """A folder with MNIST's four files, or a TFDS data directory; without it the data is found or fetched."""


@dataclasses.dataclass(frozen=True)
class ResumableSettings(MnistSettings):
    """The settings of a program whose results come from training runs, each with a folder in `out`."""

    resume: bool = False
    """Go on from the last checkpoints in that folder; the results are those of an unbroken run."""

    def settings_of_runs(self) -> dict[str, dict[str, Any]]:
        """For each run its settings, as JSON, by the name of its folder."""
        raise NotImplementedError

    def all_runs(self) -> Iterable[str]:
        """The names of all runs whose results its summary may have."""
        return self.settings_of_runs()

    def check_earlier(self) -> None:
        """Refuse to replace earlier runs unasked, or to go on with one that had other settings."""
        runs = self.settings_of_runs()
        earlier.require_no_foreign_summary(self.out, self.all_runs(), overwrite=self.overwrite)
        earlier.require_no_runs(self.out, runs, resume=self.resume, overwrite=self.overwrite)
        earlier.mark_replaced(self.out, runs, resume=self.resume, overwrite=self.overwrite)


def parse(config: type[T], args: Sequence[str] | None = None, *, prog: str, description: str) -> T:
    """Read `config`, a dataclass whose field docstrings are the help, from the command line.

    Args:
        config: the dataclass.
        args: the arguments; `None` for the program's own.
        prog: the command as the user types it.
        description: what it does, for `--help`.

    Returns:
        An instance of `config`.

    Raises:
        UserError: an unknown flag or an impossible value, in one sentence.
        SystemExit: after `--help`.
    """
    said = io.StringIO()
    try:
        with writing_output(), contextlib.redirect_stderr(said):
            return tyro.cli(config, prog=prog, description=description, args=args, config=_ONE_WAY)
    except SystemExit as stop:
        if stop.code in (0, None):
            with writing_output():
                sys.stdout.flush()
            raise
        raise UserError(f"{_sentence(said.getvalue())}; see `{prog} --help`.") from None


def require_at_least(name: str, value: int, least: int) -> None:
    """Refuse a number that is too small."""
    if value < least:
        raise UserError(f"`{name}` must be at least {least}, got {value}.")


def require_at_most(name: str, value: int, most: int) -> None:
    """Refuse a number that is too large."""
    if value > most:
        raise UserError(f"`{name}` must be at most {most}, got {value}.")


def require_positive(name: str, value: float) -> None:
    """Refuse what is no length of time: zero, a negative number, infinity and NaN."""
    if not 0 < value < math.inf:
        raise UserError(f"`{name}` must be above 0 and finite, got {value}.")


def require_some(name: str, chosen: Sequence[object], known: Iterable[str]) -> None:
    """Refuse to choose none of several things."""
    if not chosen:
        raise UserError(f"`{name}` must name at least one of {', '.join(known)}.")


def require_positions(name: str, chosen: Sequence[int], count: int) -> None:
    """Refuse to choose none of so many things, or one that is not there."""
    if not chosen or not set(chosen) <= set(range(count)):
        raise UserError(f"`{name}` must be numbers from 0 to {count - 1}, got {[*chosen]}.")


def require_seeds(first: int, count: int) -> None:
    """Refuse seeds that JAX does not tell apart: it takes 32 bits of each."""
    require_at_least("--seeds", count, 1)
    require_at_least("--seed", first, 0)
    require_at_most("--seeds", count, 2**32)
    require_at_most("--seed", first, 2**32 - count)


def require_writable(name: str, folder: Path) -> None:
    """Refuse a folder in which no file can be made, or another run writes; make it where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        occupied.occupy(name, folder)
    except OSError as error:
        raise UserError(
            f"`{name}` must be a folder that can be written, got {folder} ({error.strerror}); name another one."
        ) from None


def _sentence(box: str) -> str:
    """What is wrong, of the box that tyro draws around it, without a full stop."""
    said = _first_paragraph(box).removesuffix(".").rstrip()
    # Below it in the box, the flag that has the wrong value, or flags like the unknown ones, with what they take.
    flags = dict(re.findall(r"^\W {5}(--[\w-]+)(.*?)\W?$", box, re.MULTILINE))
    if said.startswith("Unrecognized") and flags:
        return f"{said} (similar: {', '.join(sorted(flags))})"
    if (wrong := re.match(r"Error parsing (\S+): .*?(\[.*\]|'.*')$", said)) and wrong[1] in flags:
        return f"`{wrong[1]}` must be {flags[wrong[1]].strip()}, got {wrong[2]}"
    return said


def _first_paragraph(box: str) -> str:
    """The sentence at the top of the box, whose frame is plain ASCII where the output admits nothing else."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯|+ ")
        if text.strip("─-"):
            words.append(text)
        elif words:
            break
    return " ".join(words)
