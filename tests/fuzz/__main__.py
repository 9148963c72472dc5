"""Call public functions and layers with hostile arguments.

    python -m tests.fuzz --cases 100000
    python -m tests.fuzz --seed 7 --only 4321

Each call must work, without NaN from finite input, or raise a `TypeError` or `ValueError` of this library that names an
argument. All else is a failure, and so is a warning. Failures are listed by what they have in common, with the numbers
of the cases, and the exit status is then 1. `own.py` lists the values that keep an error of their own.
"""

import argparse
import collections
import random
import sys
import time
import traceback

from experiments.harness.tables import Table
from tests.fuzz.calls import ROOMS
from tests.fuzz.cases import case
from tests.fuzz.processes import outcomes
from tests.fuzz.verdict import FAILED, NAMED, OWN, WORKS, verdict

KINDS = (WORKS, NAMED, OWN, FAILED)


def main():
    about, example, _ = __doc__.split("\n\n", 2)
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=about, epilog=example, formatter_class=form)
    parser.add_argument("--cases", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=None, help="that of an earlier run makes the same cases")
    parser.add_argument(
        "--only", type=int, default=None, metavar="N", help="the case of this number, with its traceback"
    )
    parser.add_argument("--limit", type=float, default=20, help="the seconds after which a case hangs (default: 20)")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    if options.only is not None:
        return alone(seed, options.only)
    print(f"{options.cases} cases of --seed {seed}", flush=True)
    return report(seed, options.cases, options.limit)


def alone(seed, number):
    chosen = case(seed, number)
    print(chosen)
    found = verdict(chosen)
    print(*found)
    if found.kind == FAILED:
        try:
            case(seed, number).run()
        except Exception:
            traceback.print_exc()
    return int(found.kind == FAILED)


def report(seed, number, limit):
    counts, failures, start = collections.Counter(), collections.defaultdict(list), time.monotonic()
    for index, room, found in outcomes(seed, range(number), limit):
        counts[room, found.kind] += 1
        if found.kind == FAILED:
            failures[found.what].append(index)
            print(f"{found.what} (--only {index})", flush=True)
        if (index + 1) % 10_000 == 0:
            print(f"{index + 1} cases, {sum(map(len, failures.values()))} failures", flush=True)
    for what, numbers in sorted(failures.items(), key=lambda group: -len(group[1])):
        print(f"{len(numbers)}x {what} (--only {' or '.join(map(str, numbers[:3]))})")
    print(f"\n{time.monotonic() - start:.0f} s\n")
    print(table(counts).markdown())
    return int(bool(failures))


def table(counts):
    rows = [[room, *(counts[room, kind] for kind in KINDS)] for room in ROOMS]
    rows.append(["all", *(sum(counts[room, kind] for room in ROOMS) for kind in KINDS)])
    cells = [[name, str(sum(found)), *map(str, found)] for name, *found in rows]
    return Table("What became of the calls", ["calls of", "cases", *KINDS], cells)


if __name__ == "__main__":
    sys.exit(main())
