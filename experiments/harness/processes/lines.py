"""Which lines of a child's output are for the user, and which are what C++ prints while it gives up."""

from __future__ import annotations

import re

# Threads of C++ print it piece by piece, through one another.
CHATTER = re.compile(r"\[Gloo\] Rank|connected to \d+ peer ranks|number of connected peer ranks")
# absl's errors and warnings: their continuation lines can't be told from others, but these that are seen here.
_LOGGED = re.compile(r"[EW]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] ")
_CONTINUED = re.compile(
    r"Additional GRPC error information|:[A-Z_]+:|=== Source Location Trace: ===|external/|RPC: /|\. This is only|$"
)
# From such a line on, the process is dying, and nothing else that comes on this stream is for the user.
_DYING = re.compile(
    r"F\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] |\*\*\* Check failure|terminate called|Fatal Python error"
)


class Lines:
    """Sorts the lines of one stream, in their order."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._logged = self._dying = False

    def passes(self, line: str) -> bool:
        """Whether the line is for the user now; the others but mere chatter are kept."""
        if CHATTER.search(line):
            return False
        self._dying = self._dying or bool(_DYING.match(line))
        self._logged = bool(_LOGGED.match(line) or (self._logged and _CONTINUED.match(line)))
        if self._dying or self._logged:
            self.kept.append(line)
            return False
        return True
