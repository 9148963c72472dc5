"""The watch that each of several processes keeps over the others, from its joining to their common end.

Its threads need neither the main thread, which may wait in a collective for ever, nor any timeout of gloo or NCCL, and
so work alike on every platform. Process 0, where the store is, judges all; the others judge only whether it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from typing import Any

from experiments.harness.processes import activity, judgement, link
from experiments.harness.processes.status import GIVEN_UP
from experiments.harness.processes.store import Store

PERIOD = 1.0
# How long process 0 stays for the others to read why it leaves, and how long a failing process tries to tell.
PATIENCE = 10.0
# Names in the store.
_BEATS, _HEAD, _LEFT = "jaxbn/beats", "jaxbn/head", "jaxbn/left"
_STATE, _VERDICT = f"{_HEAD}/state", f"{_HEAD}/verdict"
# What collectives raise when another process is gone. It may be of any class.
_OF_THE_RUNTIME = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")

_watch: _Watch | None = None


def start(process: int, count: int) -> None:
    """Begin to watch; to be called when this process, one of `count`, has joined the others."""
    global _watch
    link.tell(joined=[process, count])
    _watch = _Watch(process, count)


def active() -> bool:
    """Whether this process has joined others, and has not left together with them."""
    return _watch is not None


def finish() -> None:
    """Leave together with all others, when all work is done."""
    global _watch
    if _watch is None:
        return
    activity.finish()
    _watch.wait_for_all()
    _watch.close()
    _watch = None
    import jax

    jax.distributed.shutdown()


def fail(words: str) -> bool:
    """Tell the others that this process ends, which has to leave at once then; whether there are others.

    Args:
        words: what has happened to it, as the end of a sentence. If it is only that another process is gone, this does
            not return: the watch ends the process as soon as it knows which.
    """
    if _watch is None:
        return False
    for number in link.REQUESTS:
        signal.signal(number, signal.SIG_IGN)
    _watch.fail(words.removesuffix("."))
    return True


class Awake:
    """Seconds that this process was awake: a machine that sleeps, or a process that is stopped, accuses nobody."""

    def __init__(self) -> None:
        self._last, self.seconds = time.monotonic(), 0.0

    def tick(self) -> float:
        """The seconds up to now, of which each call adds a few at most."""
        now = time.monotonic()
        self.seconds += min(now - self._last, 3 * PERIOD)
        self._last = now
        return self.seconds


class _Watch:
    def __init__(self, process: int, count: int) -> None:
        self._process, self._count, self._store = process, count, Store()
        self._state: dict[str, Any] = {"number": -1, "at_work": None, "saved": None}
        self._verdict: dict[str, Any] | None = None
        self._failure: str | None = None
        self._told, self._closed = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._talk, self._listen)]
        for thread in self._threads:
            thread.start()

    def wait_for_all(self) -> None:
        """Until all have done their work."""
        while self._state["at_work"] != []:
            time.sleep(PERIOD / 10)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        link.tell(finished=True)

    def fail(self, words: str) -> None:
        """Let the others know, unless they are the reason."""
        if _OF_THE_RUNTIME.search(words):
            time.sleep(judgement.GONE_AFTER + PATIENCE / 2)
        self._failure = words
        self._told.wait(PATIENCE)

    def _talk(self) -> None:
        """Write into the store, and read from it; that blocks where process 0 does not answer."""
        judge = _Judge(self._count) if self._process == 0 else None
        number = 0
        while not self._closed.wait(PERIOD):
            number += 1
            # Errors of the store are silence, which `_listen` hears.
            with contextlib.suppress(Exception):
                beat = judgement.Beat(number, activity.begun, activity.reached, activity.done)
                self._store.put(f"{_BEATS}/{self._process}", json.dumps(beat))
                if self._failure is not None:
                    words = f"{_name(self._process, self._count)} {self._failure}"
                    self._store.put_first(_VERDICT, _to_json(self._process, words))
                if judge is not None:
                    verdict = judge.look(self._store.read(_BEATS))
                    if verdict:
                        self._store.put_first(_VERDICT, verdict)
                    state = {"number": number, "at_work": judge.at_work(), "saved": activity.saved}
                    self._store.put(_STATE, json.dumps(state))
                head = {name: json.loads(text) for name, text in self._store.read(_HEAD).items()}
                self._state = head.get("state", self._state)
                self._verdict = head.get("verdict")
                if self._verdict:
                    self._leave(self._verdict)

    def _leave(self, verdict: dict[str, Any]) -> None:
        """Tell process 0 that this one knows; process 0 waits for all that can, since the store ends with it."""
        self._store.put(f"{_LEFT}/{self._process}", "")
        deadline = time.monotonic() + PATIENCE
        present = self._count - verdict["gone"]
        while self._process == 0 and time.monotonic() < deadline and len(self._store.read(_LEFT)) < present:
            time.sleep(PERIOD / 10)
        if self._failure is not None and verdict["process"] == self._process:
            self._closed.set()
            self._told.set()
        else:
            _end(verdict["reason"])

    def _listen(self) -> None:
        """Tell the attendant that this process lives, and notice when process 0 does not."""
        awake, last, heard, saved = Awake(), -1, 0.0, None
        while not self._closed.wait(PERIOD):
            now = awake.tick()
            link.tell(beat=True)
            state = self._state
            if state["saved"] != saved:
                saved = state["saved"]
                link.tell(saved=saved)
            if state["number"] != last:
                last, heard = state["number"], now
            if now - heard > judgement.GONE_AFTER and self._verdict is None:
                _end(_gone(_name(0, self._count), now - heard))


class _Judge:
    """What process 0 makes of the beats of all."""

    def __init__(self, count: int) -> None:
        self._count, self._awake = count, Awake()
        self._sights: dict[int, judgement.Sight] = {}
        self._told_of: tuple[int, float] | None = None

    def look(self, beats: dict[str, str]) -> str | None:
        """A verdict, as a text for the store, if there is reason for one."""
        now = self._awake.tick()
        new = {int(process): judgement.Beat(*json.loads(text)) for process, text in beats.items()}
        self._sights = judgement.update(self._sights, new, now)
        gone, late = judgement.find_gone(self._sights, now), judgement.find_late(self._sights)
        if gone is not None:
            return _to_json(gone.process, _gone(_name(gone.process, self._count), now - gone.since), gone=True)
        if late is not None and judgement.is_stuck(late, now):
            since, seconds = _clock(now - late.since), f"{now - late.since:.0f} s"
            words = f"is stuck{_where(late)} since {since}, and the others have waited for it for {seconds}"
            return _to_json(late.process, f"{_name(late.process, self._count)} {words}")
        # Process 0 can say itself what it does.
        if late is not None and late.process and now - late.since > PATIENCE:
            if self._told_of == (late.process, late.since):
                return None
            self._told_of = late.process, late.since
            print(f"waiting for {_name(late.process, self._count)}{_where(late)}", file=sys.stderr)
        return None

    def at_work(self) -> list[int]:
        """Who has not done all its work."""
        return [p for p in range(self._count) if p not in self._sights or not self._sights[p].beat.done]


def _name(process: int, count: int) -> str:
    return f"process {process} of {count}"


def _clock(seconds_ago: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time.time() - seconds_ago))


def _gone(name: str, seconds: float) -> str:
    return f"{name} is gone: no sign of life since {_clock(seconds)}, {seconds:.0f} s ago"


def _where(late: judgement.Finding) -> str:
    if late.sight.beat.reached is None:
        return ", which has not done its first step"
    run, step = late.sight.beat.reached
    return f" in step {step:,} of {run}"


def _to_json(process: int, reason: str, *, gone: bool = False) -> str:
    return json.dumps({"process": process, "gone": gone, "reason": reason})


def _end(reason: str) -> None:
    """End the process at once, whatever its other threads are in."""
    if not link.tell(reason=reason):
        print(f"error: {reason}.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(GIVEN_UP)
