"""Studies that take no time, in the place of those that train."""

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from experiments.harness import plotting, study


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()


# The smallest there is.
PNG = _picture()


@dataclasses.dataclass(frozen=True)
class Config(study.MnistConfig):
    """The settings of all of them."""

    width: int = 8
    """A number that the results depend on."""
    seeds: int = 2


def without_figures(patch: pytest.MonkeyPatch) -> None:
    """Every figure is the smallest picture; the seconds that a real one takes are for other tests."""
    patch.setattr(plotting, "save_figure", lambda _figure, path: path.write_bytes(PNG))
    patch.setattr(plotting, "doubt", lambda _figure: None)


def report(name: str, out: Path, values: Any = (1.0, 1.25), *, sign: str = "", **changes: Any) -> None:
    """The files of a finished study, whose prediction is 1 within 50 percent."""
    about = study.Study(name, f"The claim of {name}", f"Someone 2020, on {name}", 1)._replace(**changes)
    verdict = study.near(f"growth in {name}{sign}", values, 1.0, percent=50)
    out.mkdir(parents=True, exist_ok=True)
    study.report(about, Config(out=out), [verdict], None, Console(file=io.StringIO()), notes=[f"Of {name}{sign}."])


def module(name: str, work: Any) -> Any:
    """A study as its module."""
    return SimpleNamespace(STUDY=study.Study(name, f"The claim of {name}", "someone", 1), Config=Config, work=work)
