"""What the devices of a compiled program send each other."""

import math
import re

_NAMES = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"


def results(program):
    """The shape of the result of each collective, as text; a tuple where several are made at once."""
    return re.findall(rf"= (.*) (?:{_NAMES})(?:-start)?\(", program.as_text())


def collectives(program):
    """How many times the devices wait for each other."""
    return len(results(program))


def sent(program):
    """The number of elements of each array that they send."""
    shapes = re.findall(r"\w\[([\d,]*)\]", " ".join(results(program)))
    return [math.prod(map(int, re.findall(r"\d+", shape))) for shape in shapes]
