"""The records of an array_record shard, unpacked in a process of its own, whose memory is bounded.

The library of that name unpacks whatever a shard holds before anybody can count it, in threads of C++, where a want of
memory ends the process.
"""

import signal
import struct
import subprocess
import sys
from pathlib import Path

from experiments.harness.data.errors import DamagedDataError
from experiments.harness.errors import UserError

# Of address space. The library starts 64 threads, whose stacks and heaps must not take it all: where one can't be
# started, the others wait for ever.
KILOBYTES = 3 << 19
SECONDS = 120
_LIMITS = f'export MALLOC_ARENA_MAX=1; ulimit -s 2048; ulimit -v {KILOBYTES}; exec "$@"'
# It needs nothing but the library, which is imported in some milliseconds.
_PROGRAM = """
import os, struct, sys
from array_record.python.array_record_module import ArrayRecordReader

path, most_images, most_bytes = sys.argv[1], *map(int, sys.argv[2:])
try:
    reader = ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
    images = reader.num_records()
    if images > most_images:
        raise ValueError(f"it has {images:,} images, expected at most {most_images:,}")
    records = reader.read_all()
    if sum(map(len, records)) > most_bytes:
        raise ValueError(f"its images have more than {most_bytes:,} bytes")
except Exception as error:
    print(str(error) or type(error).__name__, file=sys.stderr, flush=True)
    os._exit(3)
for record in records:
    sys.stdout.buffer.write(struct.pack("<I", len(record)) + record)
"""
# What damage leads to: the status above, and signals from C++.
_OF_DAMAGE = (3, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS)


def records(path: Path, most_images: int, most_bytes: int) -> list[bytes]:
    """All records of a shard.

    Args:
        path: of the shard.
        most_images: how many records it may have.
        most_bytes: how many bytes these may have together.

    Raises:
        DamagedDataError: it has more, needs more memory than a right one, or can't be read.
        UserError: it has not been read, for want of time, of memory, or of the library.
    """
    limits = [str(most_images), str(most_bytes)]
    command = ["sh", "-c", _LIMITS, "sh", sys.executable, "-P", "-c", _PROGRAM, str(path.resolve()), *limits]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} could not be unpacked within {SECONDS} s; name other data by --data-dir.") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        reason = " ".join(said) or f"status {done.returncode}"
        if done.returncode in _OF_DAMAGE:
            raise DamagedDataError(f"{path.name} can't be unpacked ({reason})")
        raise UserError(f"{path} could not be unpacked ({reason}); free memory, or name other data by --data-dir.")
    return _split(done.stdout)


def _split(content: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(content):
        (size,) = struct.unpack_from("<I", content, place)
        found.append(content[place + 4 : place + 4 + size])
        place += 4 + size
    return found
