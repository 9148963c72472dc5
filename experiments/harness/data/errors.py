"""What the sources of MNIST raise for the loader; none of it reaches the user as a traceback."""


class _ClauseError(Exception):
    """Its text may quote a server or a file: it becomes one line without control characters."""

    def __init__(self, text: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else " " for letter in text))


class SourceError(_ClauseError):
    """A source gives no data; the text is the clause that says why."""


class DamagedDataError(_ClauseError):
    """Data are not the official ones; the text is the clause that says what differs."""
