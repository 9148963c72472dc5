"""Cases in a process of their own, so that one that crashes or hangs is named, and the others go on."""

import multiprocessing
import tempfile

import jax

from tests.fuzz.cases import case
from tests.fuzz.verdict import FAILED, Verdict, verdict

# So many in one process, which keeps all that it has compiled.
_AT_ONCE = 5000
_STARTING = 600.0


def outcomes(seed, numbers, limit):
    """Of each case its number, its room and its verdict; one that takes longer than `limit` seconds hangs."""
    left, start = [*numbers][::-1], multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="jaxbn-fuzz-") as compiled:
        while left:
            ours, theirs = start.Pipe()
            some = left[-_AT_ONCE:][::-1]
            worker = start.Process(target=_work, args=(theirs, compiled, seed, some), daemon=True)
            worker.start()
            theirs.close()
            for room, found in _heard(ours, limit, len(some)):
                number = left.pop()
                yield number, room or case(seed, number).call.room, found
            worker.kill()
            worker.join()


def _heard(connection, limit, number):
    """What a process says of so many cases; of one that ends it, without its room."""
    try:
        if not connection.poll(_STARTING):
            raise TimeoutError("the process does not start")
        connection.recv()
        for _ in range(number):
            if not connection.poll(limit):
                yield "", Verdict(FAILED, f"hangs for more than {limit:.0f} s")
                return
            yield connection.recv()
    except EOFError:
        yield "", Verdict(FAILED, "ends the process")


def _work(connection, compiled, seed, numbers):
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    connection.send(None)
    for number in numbers:
        chosen = case(seed, number)
        connection.send((chosen.call.room, verdict(chosen)))
