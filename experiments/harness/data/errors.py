"""What the sources of MNIST raise for the loader; none of it reaches the user as a traceback."""


class SourceError(Exception):
    """A source gives no data; the text is the clause that says why."""


class DamagedDataError(Exception):
    """Data are not the official ones; the text is the clause that says what differs."""
