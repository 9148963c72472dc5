"""The exit status of a process that has been given up, or has given up another."""

import os

# "Temporary failure; try again": the same command with --resume goes on.
GIVEN_UP = os.EX_TEMPFAIL
