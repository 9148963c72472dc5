"""The attendant of one of several processes: starts it, passes its output on, and says the last word.

It is what the user's process becomes. It has nothing of JAX, whose C++ runtime ends a process with a stack when it
meets what it can't mend.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, BinaryIO, NoReturn

from experiments.harness import stopping
from experiments.harness.processes import judgement, link
from experiments.harness.processes.heard import Heard
from experiments.harness.processes.lines import Lines
from experiments.harness.processes.status import GIVEN_UP

# To be followed by the arguments of the child's Python. No program of its own, for nobody types it.
COMMAND = (sys.executable, "-c", f"from {__name__} import main; main()")
# Seconds. A child that has been asked to end, but waits in a computation, can't hear.
_GRACE = 15
# After so many it is said that others have not come yet.
_PATIENCE = 10


def become() -> NoReturn:
    """Turn this process into the attendant of a child that runs the same command."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*COMMAND, *sys.orig_argv[1:]])


def main() -> NoReturn:
    """Attend to Python with the arguments of `COMMAND`."""
    sys.exit(attend([sys.executable, *sys.argv[1:]]))


def attend(command: list[str]) -> int:
    """Run a command as a child, and return its exit status, or `GIVEN_UP` after a line that says why."""
    ours, theirs = socket.socketpair()
    # In a group of its own, the child gets Ctrl-C from here alone, once.
    child = subprocess.Popen(
        command,
        env={**os.environ, link.VARIABLE: str(theirs.fileno()), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno()],
        process_group=0,
    )
    theirs.close()
    asked: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        child.send_signal(number)

    for number in stopping.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # As under `nohup`.
            signal.signal(number, pass_on)
    # Who reads no more of the output ends all, as elsewhere.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    heard, lines = Heard(), (Lines(), Lines())
    threads = [
        threading.Thread(target=heard.take, args=(ours.makefile(),), daemon=True),
        threading.Thread(target=_relay, args=(child.stdout, sys.stdout.buffer, lines[0]), daemon=True),
        threading.Thread(target=_relay, args=(child.stderr, sys.stderr.buffer, lines[1]), daemon=True),
    ]
    for thread in threads:
        thread.start()

    _wait(child, heard, asked)
    for thread in threads:
        thread.join(5)  # More only if something that the child has started lives on.
    status = child.returncode
    if status is not None and status >= 0 and not heard.reason:
        return status
    if asked and not heard.reason:
        print(f"\nStopped; {heard.way_on()}", file=sys.stderr)
        return 128 + asked[0]
    kept = "".join(lines[0].kept + lines[1].kept)
    if not heard.reason and not heard.explain(-status, kept):
        sys.stderr.write(kept)
    print(f"error: {heard.reason.removesuffix('.')}; {heard.way_on()}", file=sys.stderr)
    return GIVEN_UP


def _wait(child: subprocess.Popen[bytes], heard: Heard, asked: list[int]) -> None:
    """Until the child has ended, or can't be ended, as when a driver holds it."""
    # All are seconds as turns of this loop: while this process stands still too, the child is not to blame.
    beats = quiet = ignored = alone = 0
    while child.poll() is None:
        try:
            child.wait(1)
        except subprocess.TimeoutExpired:
            quiet = quiet + 1 if heard.beats == beats and beats and not heard.finished else 0
            beats = heard.beats
            if quiet > judgement.GONE_AFTER:
                heard.end_silence(quiet)
                child.kill()
            ignored += bool(asked)
            if ignored > _GRACE:
                child.kill()
            if max(quiet - judgement.GONE_AFTER, ignored - _GRACE) > _PATIENCE:
                return
            alone += heard.joining is not None
            if alone == _PATIENCE and heard.joining:
                print(f"waiting for all processes to come to {heard.joining[0]}", file=sys.stderr)


def _relay(source: IO[bytes], target: BinaryIO, lines: Lines) -> None:
    """Pass a stream on, but for what `lines` keeps."""
    for line in source:
        if lines.passes(line.decode(errors="replace")):
            target.write(line)
            target.flush()
