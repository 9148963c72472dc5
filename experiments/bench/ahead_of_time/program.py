"""What a compiled program moves through the device's main memory, read from its text (HLO).

Every top-level instruction reads its operands and writes its results, once. A fusion that needs only a slice of an
operand reads the slice, one that updates a slice in place writes the slice, and what the TPU's compiler keeps in the
chip's own memory, `S(1)` in the text, is free, as is scratch: the bytes in a library call's result that nobody takes.
What a cache saves is not known here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "token": 0, "c64": 8, "c128": 16} | {
    f"{kind}{bits}": bits / 8 for kind in ("s", "u", "f", "bf") for bits in (8, 16, 32, 64)
}
ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*->.*\{\s*$")
LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
CALLED = re.compile(r"(?:to_apply|calls)=%?([\w.\-]+)")
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
FREE = {"parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"}
FREE |= {"partition-id", "replica-id"}
# Of these a fusion reads no more than their users need.
TRANSPARENT = {"convert", "bitcast", "reshape", "copy", "reduce-precision"}
SLICES = {"slice", "dynamic-slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    root: bool
    name: str
    shape: str
    op: str
    arguments: str
    rest: str

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.\-]+)", self.arguments)


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Moved:
    """The bytes that an instruction reads and writes."""

    name: str
    op: str
    read: float
    written: float


@dataclasses.dataclass(frozen=True)
class Program:
    """What the text of a program says."""

    moved: list[Moved]
    cycles: int
    lines: int

    @property
    def bytes(self) -> float:
        return sum(m.read + m.written for m in self.moved)

    @property
    def kernels(self) -> int:
        """Without the copies that the device makes beside them."""
        return sum(not m.op.endswith("-start") for m in self.moved)


def read(text: str) -> Program:
    """The program of an HLO text."""
    computations, entry = parse(text)
    cycles = sum(int(n) for n in CYCLES.findall(text))
    return Program(_moved(computations, entry), cycles, len(text.splitlines()))


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations by name, and the name of the first to run."""
    computations: dict[str, Computation] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if head := HEAD.match(line):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif match := LINE.match(line):
            shape, rest = _closed(match[3]) if match[3].startswith("(") else match[3].split(" ", 1)
            op, rest = rest.strip().split("(", 1)
            arguments, rest = _closed("(" + rest)
            current[match[2]] = Instruction(bool(match[1]), match[2], shape, op, arguments[1:-1], rest)
    return computations, entry


def _closed(text: str) -> tuple[str, str]:
    """Up to the parenthesis that closes the first, and the rest."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[: i + 1], text[i + 1 :]
    raise ValueError(f"no HLO: {text[:80]}")


def arrays(shape: str) -> list[tuple[int, float]]:
    """The elements and the bytes of an array, or of each in a tuple; no bytes outside the device's main memory."""
    found = []
    for dtype, sizes, layout in ARRAY.findall(shape):
        elements = math.prod(int(n) for n in sizes.split(",") if n)
        # Eight-bit floats have their format in the name.
        size = BYTES.get(dtype, 1)
        found.append((elements, 0 if re.search(r"S\([12]\)", layout) else size * elements))
    return found


def _bytes(shape: str) -> float:
    return sum(size for _, size in arrays(shape))


def _moved(computations: dict[str, Computation], name: str) -> list[Moved]:
    found = []
    computation = computations[name]
    for i in computation.values():
        if i.op in FREE or i.op.endswith(("-done", "-update")):
            continue
        called = CALLED.search(i.rest)
        if called and i.op in ("call", "async-start"):
            found += _moved(computations, called[1])
            continue
        shapes = [computation[operand].shape for operand in i.operands]
        if called and i.op == "fusion":
            moves = _fusion(computations[called[1]], shapes, i.shape)
        elif i.op == "copy-start":
            moves = _bytes(shapes[0]), arrays(i.shape)[0][1]
        elif i.op.removesuffix("-start") in SLICES:
            # With `-start` the shape is of the operands, the result and the context.
            elements, written = arrays(i.shape)[len(shapes) if i.op.endswith("-start") else 0]
            moves = _share(shapes[0], elements), written
        elif i.op == "dynamic-update-slice":
            moves = _bytes(shapes[1]), _share(i.shape, arrays(shapes[1])[0][0])
        elif i.op == "custom-call":
            moves = sum(map(_bytes, shapes)), _bytes(i.shape) - _scratch(computation, i)
        else:
            moves = sum(map(_bytes, shapes)), _bytes(i.shape)
        found.append(Moved(i.name, i.op, *moves))
    return found


def _scratch(computation: Computation, call: Instruction) -> float:
    """The bytes in the tuple that a call returns which no instruction takes out of it."""
    if call.root or not call.shape.startswith("("):
        return 0.0
    users = [user for user in computation.values() if call.name in user.operands]
    taken = {int(n) for user in users for n in re.findall(r"index=(\d+)", user.rest)}
    parts = enumerate(zip(ARRAY.findall(call.shape), arrays(call.shape), strict=True))
    return sum(size for n, ((dtype, *_), (_, size)) in parts if n not in taken and dtype in ("s8", "u8"))


def _share(shape: str, elements: int) -> float:
    """The bytes of so many elements of an array."""
    all_elements, size = arrays(shape)[0]
    return size * elements / max(1, all_elements)


def _fusion(inside: Computation, shapes: Sequence[str], result: str) -> tuple[float, float]:
    """What a fusion reads of its operands, and what it writes."""
    parameters = {int(i.arguments): name for name, i in inside.items() if i.op == "parameter"}
    got = sum(_needed(inside, parameters[n], shape) for n, shape in enumerate(shapes))
    root = next(i for i in inside.values() if i.root)
    roots = [inside[name] for name in root.operands] if root.op == "tuple" else [root]
    written = 0.0
    for part, (elements, size) in zip(roots, arrays(result), strict=False):
        if part.op == "dynamic-update-slice":
            size *= arrays(inside[part.operands[1]].shape)[0][0] / max(1, elements)
        written += size
    return got, written


def _needed(inside: Computation, name: str, shape: str) -> float:
    """The bytes of a fusion's operand that its users need."""
    # A tuple may stand for several arrays, of which slices are not told apart.
    whole = _bytes(shape)
    if not whole or len(arrays(shape)) > 1:
        return whole
    total = 0.0
    for user in (i for i in inside.values() if name in i.operands):
        first = user.operands[0] == name
        if user.op in SLICES and first:
            total += _share(shape, arrays(user.shape)[0][0])
        elif user.op == "dynamic-update-slice" and first:
            continue
        elif user.op in TRANSPARENT and not user.root:
            total += _needed(inside, user.name, shape)
        else:
            return whole
    return min(whole, total)
