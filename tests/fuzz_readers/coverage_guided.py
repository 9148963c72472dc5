"""The same guided by coverage: `python -m tests.fuzz_readers.coverage_guided idx -max_total_time=60`.

Needs `atheris`, which the project does not depend on. The flags after the name of a reader are those of libFuzzer. What
it tries grows from the good file wherever a change reaches other lines of Python.
"""

import sys
import tempfile
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["experiments", "gzip", "json", "zipfile"]):
        from tests.fuzz_readers.readers import all_readers
        from tests.fuzz_readers.trial import outcome

    name, *flags = sys.argv[1:]
    with (
        tempfile.TemporaryDirectory() as folder,
        all_readers(Path(folder), prepared=name.startswith("TFDS")) as readers,
    ):
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        (corpus / "good").write_bytes(readers[name].good)
        atheris.Setup([sys.argv[0], *flags, str(corpus)], lambda content: outcome(readers[name], content) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
