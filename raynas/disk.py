"""A disk that is full: told apart from everything else that may go wrong, with the file it met."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raynas.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HARDLY_ANY = 64 * 1024
"""Bytes; who fails with less than this left on its disk failed for want of it."""


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Turn the error of a full disk (or a used-up quota) into one that names the file.

    Raises:
        DiskFullError: the disk of `path` is full.
    """
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"{path}: the disk is full ({os.strerror(error.errno)})") from error
        raise


def check_room(folder: object) -> None:
    """Raise `DiskFullError` if a local folder's disk has no room, where a library does not say."""
    if not isinstance(folder, Path) or not folder.exists():
        return
    if shutil.disk_usage(folder).free < _HARDLY_ANY:
        raise DiskFullError(f"{folder}: the disk is full ({os.strerror(errno.ENOSPC)})")
