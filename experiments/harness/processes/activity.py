"""What this process is doing, for the other processes to see: plain values, written by the work, read by the watch."""

from __future__ import annotations

# Computations begun that all processes share; each ends only when all have begun it.
begun = 0
# The run that trains, if one does, and the step that it has reached.
reached: tuple[str, int] | None = None
# The run and the step of the last checkpoint.
saved: tuple[str, int] | None = None
# Whether all work is done.
done = False


def begin() -> None:
    """Count a computation that all processes share; to be called when the one before it has ended."""
    global begun
    begun += 1


def reach(run: str, step: int) -> None:
    """Note the step that a run has reached."""
    global reached
    reached = run, step


def leave_steps() -> None:
    """Note that no run trains any more: what this process still does by itself may take as long as it likes."""
    global reached
    reached = None


def save(run: str, step: int) -> None:
    """Note that a run can go on from a checkpoint at a step."""
    global saved
    saved = run, step


def finish() -> None:
    """Note that all work is done."""
    global done
    done = True
