"""Random damage for everything that reads files.

    python -m tests.fuzz_readers --cases 10000 --seed 0

Each of the cases is one damaged file for one of the readers, in turn. It must be read right, or be refused in the
reader's own words: a crash, another error, other data, more than 256 MB of memory or a minute of silence end the run
with the case that did it.
"""

import argparse
import collections
import contextlib
import faulthandler
import tempfile
import time
from pathlib import Path

from tests.experiments.harness.data.data_stand_in import little_memory
from tests.fuzz_readers.readers import all_readers
from tests.fuzz_readers.trial import RIGHT, content_of, outcome

MEGABYTES, SECONDS = 256, 60


def main() -> None:
    about, example, _ = __doc__.split("\n\n", 2)
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m tests.fuzz_readers", description=about, epilog=example, formatter_class=form
    )
    parser.add_argument("--cases", type=int, default=10_000, help="in all (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: 0)")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    begun = time.monotonic()
    for name, counts in tried(args.cases, args.seed, prepared=True).items():
        print(
            f"{name}: {sum(counts.values()):,} cases, " + ", ".join(f"{n:,} {what}" for what, n in counts.most_common())
        )
    print(f"{time.monotonic() - begun:.0f} s")


def tried(cases: int, seed: int, *, prepared: bool) -> dict[str, collections.Counter[str]]:
    """How often what came of it, by reader.

    Args:
        cases: in all; each reader has its part.
        seed: of the damages.
        prepared: also the readers that need TFDS.

    Raises:
        AssertionError: a case went wrong; it is named.
    """
    found: dict[str, collections.Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, all_readers(Path(folder), prepared=prepared) as readers:
        for name, reader in readers.items():
            # Undamaged it is right, and what is needed for that is loaded before memory becomes short.
            assert outcome(reader, reader.good) == RIGHT, name
        with little_memory(MEGABYTES), contextlib.ExitStack() as stack:
            stack.callback(faulthandler.cancel_dump_traceback_later)
            for case in range(cases // len(readers)):
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                for name, reader in readers.items():
                    try:
                        what = outcome(reader, content_of(reader, name, seed, case))
                    except Exception as error:
                        raise AssertionError(f"{name}, seed {seed}, case {case}: {error!r}") from error
                    found.setdefault(name, collections.Counter())[what] += 1
    return found


if __name__ == "__main__":
    main()
