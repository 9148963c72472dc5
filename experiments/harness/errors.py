"""Problems that the user of an experiment can mend."""


class UserError(Exception):
    """A problem the user can mend: a main program prints its one line and exits non-zero."""


class AgreedError(UserError):
    """A problem that all of several processes have been told of: they leave together, and the first one says it."""
