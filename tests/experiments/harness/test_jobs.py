"""Runs at once look as if one followed the other."""

import io
import threading

import pytest
from rich.console import Console

from experiments.harness import progress
from experiments.harness.jobs import run_jobs


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def printing(lines, before=None, after=None):
    def job(own):
        for line in lines:
            if before:
                assert before.wait(60)
            own.print(line)
        if after:
            after.set()
        return lines

    return job


def test_lines_come_job_by_job_though_a_later_one_is_faster() -> None:
    ended = threading.Event()
    out = console()
    jobs = {"slow": printing(["a", "b"], before=ended), "fast": printing(["c", "d" * 150], after=ended)}
    assert list(run_jobs(jobs, out)) == [("slow", ["a", "b"]), ("fast", ["c", "d" * 150])]
    assert out.file.getvalue().split() == ["a", "b", "c", "d" * 100, "d" * 50]


def test_the_first_jobs_lines_come_at_once() -> None:
    out = console()

    def job(own):
        own.print("alive")
        for _ in range(6_000):
            if "alive" in out.file.getvalue():
                return True
            threading.Event().wait(0.01)
        return False

    assert dict(run_jobs({"first": job}, out)) == {"first": True}


def test_one_by_one_none_begins_before_the_last_has_ended() -> None:
    running: list[str] = []
    seen = []

    def job(name):
        def run(own):
            running.append(name)
            threading.Event().wait(0.01)
            seen.append(tuple(running))
            running.remove(name)

        return run

    dict(run_jobs({name: job(name) for name in "abc"}, console(), one_by_one=True))
    assert seen == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_stops_the_others_and_keeps_what_had_ended(error) -> None:
    ended, begun = threading.Event(), threading.Event()
    stopped = []

    def fails(own):
        assert begun.wait(60)
        raise error("why")

    def endless(own):
        assert ended.wait(60)
        begun.set()
        with progress.progress(own, "endless", 10) as on_progress:
            try:
                while True:
                    on_progress(1)
            except progress.Stopped:
                stopped.append(1)
                raise

    found, out = {}, console()
    jobs = {"fails": fails, "quick": printing(["q"], after=ended), "endless": endless}
    with pytest.raises(error, match="why"):
        found.update(run_jobs(jobs, out))
    assert found == {"quick": ["q"]}
    assert stopped == [1]
    assert out.file.getvalue() == "q\n"
