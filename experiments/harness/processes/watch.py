"""The watch that each of several processes keeps over the others, from its joining to their common end.

Its threads need neither the main thread, which may wait in a collective for ever, nor any timeout of gloo or NCCL, and
so work alike on every platform. Process 0, where the store is, judges all; the others judge only whether it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from typing import Any

from experiments.harness import stopping
from experiments.harness.processes import activity, judgement, link, words
from experiments.harness.processes.judge import Awake, Judge, Verdict
from experiments.harness.processes.status import GIVEN_UP
from experiments.harness.processes.store import NoAnswerError, Store

PERIOD = 1.0
# How long process 0 stays for the others to read why it leaves, and how long a failing process tries to tell.
PATIENCE = 10.0
# Names in the store.
_BEATS, _HEAD, _LEFT = "jaxbn/beats", "jaxbn/head", "jaxbn/left"
_STATE, _VERDICT = f"{_HEAD}/state", f"{_HEAD}/verdict"
# What collectives raise when another process is gone. It may be of any class.
_OF_THE_RUNTIME = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")

_watch: _Watch | None = None


def start() -> None:
    """Begin to watch; to be called when this process has joined the others."""
    global _watch
    _watch = _Watch(Store())


def joined() -> bool:
    """Whether this process has joined others."""
    return _watch is not None


def finish() -> bool:
    """Leave together with all others, when all work is done; not if this process leaves alone, since it has failed."""
    global _watch
    if _watch is None:
        return True
    if _watch.failed:
        return False
    activity.finish()
    _watch.wait_for_all()
    _watch.close()
    _watch = None
    import jax

    jax.distributed.shutdown()
    return True


def is_to_stop() -> bool:
    """Whether training is to stop here, for a signal. Of several processes the first stops, whichever was asked to.

    It needs the others to finish its dispatch, so these go on until its verdict, or to the end of their patience.
    """
    asked = bool(stopping.asked())
    return asked if _watch is None else _watch.process == 0 and (asked or _watch.asked is not None)


def stop() -> None:
    """Tell the others that training has stopped, and for whom; this process goes on to its own end meanwhile."""
    if _watch is not None:
        _watch.stop()


def fail(ending: str) -> bool:
    """Tell the others that this process ends, which has to leave at once then; whether there are others.

    Args:
        ending: what has happened to it, as the end of a sentence, unless `stop` has told more. If it is only that
            another process is gone, this does not return: the watch ends the process as soon as it knows which.
    """
    if _watch is None:
        return False
    stopping.ignore()
    _watch.fail(ending.removesuffix("."))
    return True


class _Watch:
    def __init__(self, store: Store) -> None:
        self.process, self._count, self._store = store.process, store.count, store
        link.tell(joined=[store.process, store.count])
        self._state: dict[str, Any] = {"number": -1, "at_work": None, "saved": None}
        self._verdict: Verdict | None = None
        self.failed = False
        # Who was asked to end, as far as process 0 knows.
        self.asked: int | None = None
        self._failure: Verdict | None = None
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

    def stop(self) -> None:
        """Let the others know who was asked to end."""
        process = self.process if stopping.asked() else self.asked
        if process is not None:
            self._failure = Verdict(process, f"{words.name(process, self._count)} was stopped by its user")

    def fail(self, ending: str) -> None:
        """Let the others know, unless they are the reason."""
        self.failed = True
        if _OF_THE_RUNTIME.search(ending):
            time.sleep(judgement.GONE_AFTER + PATIENCE / 2)
        self._failure = self._failure or Verdict(self.process, f"{words.name(self.process, self._count)} {ending}")
        # If another one is the reason, its verdict ends this process too.
        self._told.wait(PATIENCE if self._failure.process == self.process else None)

    def _talk(self) -> None:
        """Write into the store, and read from it; that blocks where process 0 does not answer."""
        judge = Judge(self._count) if self.process == 0 else None
        number = 0
        while not self._closed.wait(PERIOD):
            number += 1
            # `_listen` notices when there is no answer for long.
            with contextlib.suppress(NoAnswerError):
                asked, failure = bool(stopping.asked()), self._failure
                beat = judgement.Beat(number, activity.begun, activity.reached, activity.done, asked)
                self._store.put(f"{_BEATS}/{self.process}", json.dumps(beat))
                if judge is not None:
                    if verdict := judge.look(self._store.read(_BEATS)):
                        failure = failure or verdict
                    self.asked = judge.asked()
                    state = {"number": number, "at_work": judge.at_work(), "saved": activity.saved}
                    self._store.put(_STATE, json.dumps(state))
                # After the state, so that who reads why it ends also knows the last checkpoint.
                if failure is not None:
                    self._store.put_first(_VERDICT, json.dumps(failure))
                head = {name: json.loads(text) for name, text in self._store.read(_HEAD).items()}
                self._state = head.get("state", self._state)
                if "verdict" in head:
                    self._verdict = Verdict(*head["verdict"])
                    self._leave(self._verdict)

    def _leave(self, verdict: Verdict) -> None:
        """Tell process 0 that this one knows; process 0 waits for all that can, since the store ends with it."""
        with contextlib.suppress(NoAnswerError):
            self._store.put(f"{_LEFT}/{self.process}", "")
            deadline = time.monotonic() + PATIENCE
            present = self._count if verdict.hears else self._count - 1
            while self.process == 0 and time.monotonic() < deadline and len(self._store.read(_LEFT)) < present:
                time.sleep(PERIOD / 10)
        if self._failure is not None and verdict.process == self.process:
            self._closed.set()
            self._told.set()
        elif number := stopping.asked():
            stopping.end(number)
        else:
            self._end(verdict.reason)

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
                self._end(words.gone(words.name(0, self._count), now - heard))

    def _end(self, reason: str) -> None:
        """End the process at once, whatever its other threads are in."""
        link.tell(saved=self._state["saved"])
        if not link.tell(reason=reason):
            print(f"error: {reason}.", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(GIVEN_UP)
