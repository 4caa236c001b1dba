"""The journal: an append-only file of pool events that *is* the run.

One JSON object a line, flushed to disk before anyone acts on it. A line torn by a crash is the
last one and is dropped; whatever was in it had not happened yet.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from raynas.disk import writing
from raynas.errors import RunFolderError
from raynas.plain import check_fields, parse_json
from raynas.runs.folder import replace_file
from raynas.scheduling.events import Event, event_from_json, event_to_json
from raynas.scheduling.pool import Pool
from raynas.storage import Location

Entry = tuple[Event, float]
"""An event and the run's elapsed seconds when it happened."""


_Line = TypeVar("_Line")


def read_journal(path: Location) -> tuple[list[Entry], int]:
    """Read a journal of pool events.

    Returns:
        The entries, and the size in bytes of the part that is whole (a torn tail lies behind it).

    Raises:
        RunFolderError: a line that is not the last one cannot be read.
    """
    return read_lines(path, _parse)


def read_lines(path: Location, parse: Callable[[bytes], _Line]) -> tuple[list[_Line], int]:
    """Read an append-only file line by line.

    Args:
        path: The file.
        parse: Makes something of a line; raises `ValueError` or `RunFolderError` if it cannot.

    Returns:
        What became of the lines, and the size in bytes of the part that is whole.

    Raises:
        RunFolderError: a line that is not the last one cannot be read.
    """
    found: list[_Line] = []
    size = 0
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot read the journal: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            found.append(parse(line))
        except (ValueError, RunFolderError) as error:
            if number == len(lines):
                break
            raise RunFolderError(f"{path}, line {number}: {error}") from None
        size += len(line)
    return found, size


def _parse(line: bytes) -> Entry:
    value: Any = parse_json(line)
    if not isinstance(value, dict) or "t" not in value:
        raise RunFolderError("not a journal entry")
    check_fields(value, {"t": "number"})
    return event_from_json({k: v for k, v in value.items() if k != "t"}), float(value["t"])


def recorded(pool: Pool, history: Iterable[Entry], name: object) -> Iterator[Entry]:
    """Yield the entries of a journal, each once the pool has recorded it.

    Args:
        pool: Where they are recorded.
        history: The entries.
        name: What to call the journal.

    Raises:
        RunFolderError: an entry contradicts those before it, or the config: somebody wrote it.
    """
    for number, (event, elapsed_s) in enumerate(history, start=1):
        try:
            pool.record(event)
        except (ValueError, IndexError) as error:
            raise RunFolderError(f"{name}, line {number}: cannot be: {error}") from None
        yield event, elapsed_s


class RecordFile:
    """The writing end of an append-only file of JSON objects.

    Args:
        path: The file; created if missing. If it has other names (hard links: a backup's, or a
            stranger's trap) it is copied first: what they name stays as it is.
        size: Bytes to keep of an existing file (what was found whole).
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        if path.exists() and path.stat().st_nlink > 1:
            replace_file(path, path.read_bytes()[:size])
        self._file = path.open("ab", buffering=0)  # no line may wait in a buffer
        self._file.truncate(size)
        self._failure: OSError | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one line and wait until it is on disk.

        Raises:
            DiskFullError: there is no room. What was written of the line is taken back, and no
                later line is taken: what happened in between would be missing before it.
        """
        if self._failure is not None:
            raise self._failure
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        size = self._file.seek(0, os.SEEK_END)
        try:
            with writing(self._path):
                self._append(line)
        except OSError as error:
            self._failure = error
            self._file.truncate(size)
            raise

    def _append(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Journal(RecordFile):
    """The writing end of a journal of pool events."""

    def append(self, event: Event, elapsed_s: float) -> None:
        """Write one event and wait until it is on disk."""
        self.write({"t": round(elapsed_s, 4), **event_to_json(event)})
