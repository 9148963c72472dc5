"""Programs to run, `python -m experiments.<name>`; nothing imports them but tests."""

import sys

from experiments.harness import stopping

# The imports of a program take seconds, in which it can be asked to end already.
if sys.argv[:1] == ["-m"]:
    stopping.attend()
