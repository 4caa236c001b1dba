"""The journal: an append-only file of pool events that *is* the run.

One JSON object a line, flushed to disk before anyone acts on it. A line torn by a crash is the
last one and is dropped; whatever was in it had not happened yet.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from raynas.errors import RunFolderError
from raynas.scheduling.events import Event, event_from_json, event_to_json

Entry = tuple[Event, float]
"""An event and the run's elapsed seconds when it happened."""


def read_journal(path: Path) -> tuple[list[Entry], int]:
    """Read a journal.

    Returns:
        The entries, and the size in bytes of the part that is whole (a torn tail lies behind it).

    Raises:
        RunFolderError: a line that is not the last one cannot be read.
    """
    entries: list[Entry] = []
    size = 0
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot read the journal: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            entries.append(_parse(line))
        except (ValueError, RunFolderError) as error:
            if number == len(lines):
                break
            raise RunFolderError(f"{path}, line {number}: {error}") from None
        size += len(line)
    return entries, size


def _parse(line: bytes) -> Entry:
    value: Any = json.loads(line)
    if not isinstance(value, dict) or not isinstance(value.get("t"), int | float):
        raise RunFolderError("not a journal entry")
    return event_from_json({k: v for k, v in value.items() if k != "t"}), float(value["t"])


class Journal:
    """The writing end of a journal file.

    Args:
        path: The file; created if missing.
        size: Bytes to keep of an existing file (what `read_journal` found whole).
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._file = path.open("ab")
        self._file.truncate(size)

    def append(self, event: Event, elapsed_s: float) -> None:
        """Write one event and wait until it is on disk."""
        record = {"t": round(elapsed_s, 4), **event_to_json(event)}
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
