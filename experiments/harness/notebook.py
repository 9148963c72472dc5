"""Progress in a notebook, where rich needs widgets to show any."""

from __future__ import annotations

import io
import threading
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

# Between two pictures of the bars.
_SECONDS = 0.5


def is_running() -> bool:
    """Whether this process runs the cells of a notebook."""
    return Console().is_jupyter


class NotebookBars(Progress):
    """Bars as plain text in an output of the cell, which is replaced as they grow and empty at the end."""

    def __init__(self, *columns: ProgressColumn, speed_estimate_period: float) -> None:
        super().__init__(*columns, speed_estimate_period=speed_estimate_period, disable=True)
        self._due = 0.0
        # Jobs in several threads share the bars: an older picture must not replace a newer one.
        self._drawing = threading.Lock()

    def start(self) -> None:
        from IPython.display import display

        self._output = display(_plain(""), raw=True, display_id=True)

    def add_task(self, *about: Any, **more: Any) -> TaskID:
        task_id = super().add_task(*about, **more)
        self._draw()
        return task_id

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self.get_time() >= self._due or self.finished:
            self._draw()

    def stop(self) -> None:
        self._output.update(_plain(""), raw=True)

    def _draw(self) -> None:
        with self._drawing:
            self._due = self.get_time() + _SECONDS
            picture = io.StringIO()
            Console(file=picture, width=100, force_terminal=False, force_jupyter=False).print(self.get_renderable())
            self._output.update(_plain(picture.getvalue()), raw=True)


def _plain(text: str) -> dict[str, str]:
    return {"text/plain": text}
