"""What has been heard of the jobs of a retraining, on disk: one JSON object a line, flushed.

The truth of a retraining is this file and the checkpoints: an epoch whose line a crash swallowed is
told again from the checkpoint. A torn last line is dropped.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raynas.errors import RunFolderError
from raynas.plain import check_fields, parse_json
from raynas.retraining.records import Records
from raynas.runs.journal import RecordFile
from raynas.training.job import Finished, JobFailed, Notice, Reply, Trained

Entry = tuple[Reply, float]
"""What was heard, and the seconds the retraining had been going."""

_BY_NAME: dict[str, type] = {"trained": Trained, "finished": Finished, "failed": JobFailed}
_NAMES = {kind: name for name, kind in _BY_NAME.items()}


_KINDS = {
    **dict.fromkeys(("job", "epoch", "num_params", "flops"), "whole number"),
    **dict.fromkeys(("t", "accuracy", "loss"), "number"),
    **dict.fromkeys(("event", "part", "error"), "text"),
    "metrics": "numbers by name",
    "confusion": "list of rows of whole numbers",
}
"""What each field must be."""


def heard(records: Records, history: Iterable[Entry], name: object) -> None:
    """Have records hear all that a journal holds.

    Args:
        records: Of the jobs that the config names.
        history: The entries.
        name: What to call the journal.

    Raises:
        RunFolderError: it speaks of a job that the config does not name.
    """
    for number, (reply, elapsed_s) in enumerate(history, start=1):
        if reply.job >= len(records):
            raise RunFolderError(f"{name}, line {number}: there is no job {reply.job}")
        records.hear(reply)
        records.elapsed_s = elapsed_s


def read_retraining(path: Path) -> tuple[list[Entry], int]:
    """Read a journal; none yet is an empty one.

    Returns:
        The entries, and the size in bytes of the part that is whole.

    Raises:
        RunFolderError: a line that is not the last one cannot be read.
    """
    if not path.exists():
        return [], 0
    entries: list[Entry] = []
    size = 0
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("torn")
            entries.append(_parse(parse_json(line)))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise RunFolderError(f"{path}, line {number}: {error}") from None
        size += len(line)
    return entries, size


def _parse(value: dict[str, Any]) -> Entry:
    fields = dict(value)
    check_fields(fields, _KINDS)
    elapsed_s, kind = float(fields.pop("t")), _BY_NAME[fields.pop("event")]
    return kind(**fields), elapsed_s


class RetrainJournal(RecordFile):
    """The writing end."""

    def append(self, reply: Reply, elapsed_s: float) -> None:
        """Write what was heard and wait until it is on disk; notices are not kept."""
        if not isinstance(reply, Notice):
            self.write({"t": round(elapsed_s, 3), "event": _NAMES[type(reply)], **asdict(reply)})
