"""Progress: live on a terminal and in a notebook, nothing but plain lines anywhere else."""

import builtins
import contextlib
import io
import re
import signal
import sys
import threading
import time
import types
from collections.abc import Callable

import pytest
from rich.console import Console

from experiments.harness import notebook, stopping
from experiments.harness.console import make_console
from experiments.harness.processes import watch
from experiments.harness.progress import JobConsole, Stopped, bars, progress


def terminal(clock: Callable[[], float] = time.monotonic) -> tuple[Console, io.StringIO]:
    file, options = io.StringIO(), {"force_terminal": True, "color_system": "standard", "_environ": {}}
    return Console(file=file, width=120, highlight=False, get_time=clock, **options), file


def wait_for(text: str, file: io.StringIO) -> None:
    """Until it is drawn, which another thread does ten times a second."""
    for _ in range(6_000):
        if text in file.getvalue():
            return
        time.sleep(0.01)


@pytest.mark.parametrize("colours", [None, "1"])
def test_without_a_terminal_there_are_only_plain_lines(
    colours: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if colours:
        monkeypatch.setenv("FORCE_COLOR", colours)
    console = make_console()
    with progress(console, "mlp", 100) as step:
        step(50)
        console.print("[bold]STEP 50: :smile: " + "x" * 200 + " y")
        step(100)
    assert capsys.readouterr() == ("[bold]STEP 50: :smile: " + "x" * 200 + " y\n", "")


def test_on_a_terminal_there_is_a_bar_with_the_time_left() -> None:
    now = [100.0]
    console, file = terminal(lambda: now[0])
    with progress(console, "mlp-bn", 2_000, 500) as step:
        step(750)
        wait_for("750/2000", file)
        # The time left comes from the speed, hence from two steps at least.
        now[0] += 1
        step(1_000)
        wait_for("1000/2000", file)
        console.print("STEP 1000")
    text = file.getvalue()
    for part in ("mlp-bn", "750/2000", "1000/2000", "left", "STEP 1000\n", "\x1b["):
        assert part in text
    # Behind "left", in cyan, not the time elapsed.
    assert re.search(r"left \x1b\[36m0:00:04", text.split("1000/2000")[-1])


def test_the_time_left_is_known_where_steps_take_minutes() -> None:
    now = [100.0]
    console, file = terminal(lambda: now[0])
    with progress(console, "nets", 10, still=True) as step:
        for number in (1, 2, 3):
            now[0] += 200
            step(number)
    assert "left \x1b[36m0:23:20" in file.getvalue().split("3/10")[1]


def test_a_still_bar_is_drawn_at_its_steps_by_no_thread_of_its_own() -> None:
    console, file = terminal()
    before = threading.active_count()
    with progress(console, "ops", 5, still=True) as step:
        assert threading.active_count() == before
        assert "0/5" in file.getvalue()
        step(1)
        assert "1/5" in file.getvalue()


def test_in_a_notebook_an_output_is_replaced_and_lines_stay_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # By its class rich knows a notebook, and writes HTML of its own there if it is let.
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    shown: list[str] = []

    def display(data: dict[str, str], *, raw: bool, display_id: bool = True) -> types.SimpleNamespace:
        shown.append(data["text/plain"])
        return types.SimpleNamespace(update=display)

    for name in ("IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(display=display))
    monkeypatch.setattr(notebook, "_SECONDS", 0)
    console = make_console()
    with progress(console, "mlp", 10) as step:
        for number in (3, 6):
            step(number)
            console.print(f"STEP {number}")
        step(10)
    # Where a step takes minutes, the bar is there before the first is done.
    begun, zeroth, third, sixth, tenth, ended = shown
    assert (begun, ended) == ("", "")
    assert "0/10" in zeroth
    assert "10/10" in tenth
    assert re.fullmatch(r"mlp ━+ +3/10 0:00:00 left [\d:-]+\n", third)
    assert sixth.count("━") == 2 * third.count("━")
    assert capsys.readouterr() == ("STEP 3\nSTEP 6\n", "")
    # The lines of a job wait in its file for their turn.
    file = io.StringIO()
    JobConsole(console, file, bars(console), threading.Event()).print("STEP 9")
    assert (file.getvalue(), capsys.readouterr()) == ("STEP 9\n", ("", ""))


def test_the_bar_is_gone_at_the_end() -> None:
    console, file = terminal()
    with progress(console, "mlp", 10) as step:
        step(10)
    # Its line is erased and the cursor is shown again.
    assert "\x1b[2K" in file.getvalue().split("/10")[-1]
    assert "\x1b[?25h" in file.getvalue()


def test_a_terminal_stays_usable_after_ctrl_c() -> None:
    console, file = terminal()
    with pytest.raises(KeyboardInterrupt), progress(console, "mlp", 10):
        raise KeyboardInterrupt
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l") >= 0
    # Nor does the bar stay, which was not told of its end.
    assert "\x1b[2K" in file.getvalue().split("/10")[-1]


@pytest.mark.parametrize(
    ("process", "here", "known", "stops"),
    [
        (None, None, None, False),
        (None, signal.SIGTERM, None, True),
        (0, None, None, False),
        (0, signal.SIGTERM, None, True),
        (0, None, 1, True),
        (1, None, None, False),
        (1, signal.SIGTERM, None, False),
    ],
)
def test_of_several_processes_the_first_stops_whichever_a_signal_has_asked(
    monkeypatch: pytest.MonkeyPatch, process: int | None, here: int | None, known: int | None, stops: bool
) -> None:
    watching = process is not None
    monkeypatch.setattr(watch, "_watch", types.SimpleNamespace(process=process, asked=known) if watching else None)
    monkeypatch.setattr(stopping, "asked", lambda: here)
    job = JobConsole(Console(), io.StringIO(), bars(Console()), threading.Event())
    # Then the job itself is asked to stop, as it is after a signal; without one, another job has failed.
    for ends in (stops, stops or not here):
        with progress(job, "mlp", 10) as step, pytest.raises(Stopped) if ends else contextlib.nullcontext():
            step(1)
        job.stop.set()
