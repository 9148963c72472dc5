"""Programs to run, `python -m experiments.<name>`; nothing imports them but tests."""

import sys
from types import TracebackType


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("\nStopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# The imports of a program take seconds, in which `main` can't catch Ctrl-C yet.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _excepthook
