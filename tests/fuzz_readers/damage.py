"""Random damage of bytes."""

import random
import struct

MOST_DAMAGES, MOST_BYTES = 4, 1 << 20


def damaged(rng: random.Random, good: bytes) -> bytes:
    """The bytes after one to four damages."""
    content = bytearray(good)
    for _ in range(rng.randint(1, MOST_DAMAGES)):
        rng.choice(DAMAGES)(rng, content)
        del content[MOST_BYTES:]
    return bytes(content)


def _flip(rng: random.Random, content: bytearray) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, content: bytearray) -> None:
    del content[rng.randint(0, len(content)) :]


def _remove(rng: random.Random, content: bytearray) -> None:
    del content[_part(rng, content)]


def _insert(rng: random.Random, content: bytearray) -> None:
    position = rng.randint(0, len(content))
    content[position:position] = rng.randbytes(rng.randint(1, 16))


def _double(rng: random.Random, content: bytearray) -> None:
    part = _part(rng, content)
    content[part] = content[part] * 2


def _repeat(rng: random.Random, content: bytearray) -> None:
    """As a parser that calls itself at every bracket does not like."""
    position = rng.randint(0, len(content))
    content[position : position + 1] = content[position : position + 1] * rng.choice([10, 1000, 100_000])


def _swap(rng: random.Random, content: bytearray) -> None:
    parts = [_part(rng, content) for _ in range(2)]
    first, second = (bytes(content[part]) for part in parts)
    content[parts[0]] = second
    content[parts[1]] = first


def _clear(rng: random.Random, content: bytearray) -> None:
    part = _part(rng, content)
    content[part] = bytes(len(content[part]))


def _number(rng: random.Random, content: bytearray) -> None:
    """A length at its limits, in either order of bytes."""
    form = rng.choice(["<I", ">I", "<Q", ">Q", "<H", "B"])
    bits = 8 * struct.calcsize(form)
    value = rng.choice([0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1])
    # Lengths stand at the beginning of a format more often than elsewhere.
    position = rng.randint(0, min(len(content), rng.choice([32, len(content)])))
    content[position : position + bits // 8] = struct.pack(form, value)


def _letter(rng: random.Random, content: bytearray) -> None:
    """Another letter of the content itself, so that text remains text."""
    if content:
        content[rng.randrange(len(content))] = rng.choice(content)


def _part(rng: random.Random, content: bytearray) -> slice:
    begin = rng.randint(0, len(content))
    return slice(begin, begin + rng.choice([1, 4, 16, 256, len(content) // 2]))


DAMAGES = (_flip, _cut, _remove, _insert, _double, _repeat, _swap, _clear, _number, _letter)
