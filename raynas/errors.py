"""The exceptions raynas raises on purpose.

::

    RaynasError
    ├── UsageError                    a user can mend it: exit code 2, one line
    │   ├── ConfigError               a key or value of a config or flag
    │   ├── SpaceError                a space cannot do what was asked
    │   │   └── InvalidArchitectureError   a text is not an architecture of the space
    │   ├── DataError                 a data set is missing, malformed or out of range
    │   ├── RunFolderError            a folder holds no run, or another one
    │   └── StorageError              a store that a URI names cannot be read or written
    ├── TrialError                    one architecture's training failed (recorded; search goes on)
    ├── DiskFullError                 no room for a file of the run: it stops, and can be resumed
    ├── WorkerError                   no worker can work: the run stops, with the traceback
    └── CheckpointError              a checkpoint cannot be read back
"""

import difflib
from collections.abc import Iterable


class RaynasError(Exception):
    """Root of every error raynas raises on purpose."""


class UsageError(RaynasError, ValueError):
    """Something the user asked for cannot be done; the message is one line and says what can.

    What a message quotes may be anybody's: whatever would move a terminal's cursor is escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(UsageError):
    """A key or a value of a config file, flag or argument is wrong."""


class SpaceError(UsageError):
    """A search space cannot do what was asked of it."""


class InvalidArchitectureError(SpaceError):
    """A text does not describe an architecture of the space; the message says where."""


class DataError(UsageError):
    """A data set is missing, malformed or out of range."""


class RunFolderError(UsageError):
    """A folder holds no run, an unreadable run, or another run than the one asked for."""


class StorageError(UsageError, OSError):
    """A store that a URI names is not there, not reachable, or not open to us.

    Args:
        message: One line.
        may_pass: Whether the same may go well a little later.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class TrialError(RaynasError):
    """Training one architecture failed for a reason of its own (it is recorded as failed)."""


class DiskFullError(RaynasError, OSError):
    """A file of the run cannot be written for want of room; nothing that was written is lost."""


class WorkerError(RaynasError):
    """Workers cannot import, start or find their data: no architecture is to blame."""


class CheckpointError(RaynasError):
    """A checkpoint cannot be read back."""


def printable(text: str) -> str:
    """Return a text on one line, with whatever would move a terminal's cursor escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the allowed name closest to `name`, or ``""``."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
