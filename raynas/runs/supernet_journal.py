"""The journal of a supernet run: one record a step, written by worker 0 before its checkpoint.

Three kinds of lines:

* ``session``: workers start (or start again) after step `from_step`; whatever the journal holds of
  later steps is void;
* a step: an epoch or a decision, as `step` of `raynas.selection.program.SupernetProgram` returns
  it, with the mixing weights after it;
* ``failed``: training came to an end that no repetition changes.
"""

from dataclasses import dataclass, field
from typing import Any

from raynas.errors import RunFolderError
from raynas.plain import check_fields, parse_json
from raynas.runs.journal import read_lines
from raynas.storage import Location

Record = dict[str, Any]
"""A line of the journal."""


_KINDS = {
    **dict.fromkeys(("from_step", "step", "epoch", "num_epochs"), "whole number"),
    **dict.fromkeys(("phase", "error"), "text"),
    **dict.fromkeys(("decisions", "notices"), "list"),
    "metrics": "mapping or nothing",
    "architecture": "text or nothing",
    "elapsed_s": "number",
}
"""What each field must be, where it is."""


@dataclass(slots=True)
class SupernetLog:
    """What a journal says has happened.

    Attributes:
        steps: Steps that count, in order.
        sessions: Every start of the workers.
        failure: How training failed, if that is where it is now.
    """

    steps: list[Record] = field(default_factory=list)
    sessions: list[Record] = field(default_factory=list)
    failure: Record | None = None

    def hear(self, record: Record) -> None:
        """Take in the next line."""
        event = record["event"]
        if event == "session":
            self.sessions.append(record)
            self._forget_after(record["from_step"])
            self.failure = None
        elif event == "failed":
            self.failure = record
        else:
            self._forget_after(record["step"] - 1)
            self.steps.append(record)

    def _forget_after(self, step: int) -> None:
        while self.steps and self.steps[-1]["step"] > step:
            self.steps.pop()

    @property
    def last(self) -> Record | None:
        """The latest step."""
        return self.steps[-1] if self.steps else None

    @property
    def elapsed_s(self) -> float:
        """Seconds that workers were at it, over all sessions."""
        return float(self.steps[-1]["elapsed_s"]) if self.steps else 0.0

    @property
    def epochs(self) -> list[Record]:
        """The steps that trained an epoch."""
        return [step for step in self.steps if step["event"] == "epoch"]

    @property
    def decisions(self) -> list[tuple[Record, Record]]:
        """Every decision, with the step it was taken in."""
        return [(decision, step) for step in self.steps for decision in step["decisions"]]

    @property
    def architecture(self) -> str | None:
        """The text of what was selected, once all is decided."""
        return self.steps[-1].get("architecture") if self.steps else None

    @property
    def notices(self) -> list[str]:
        """What workers had to say that is no error."""
        return [notice for session in self.sessions for notice in session["notices"]]


def read_supernet_journal(path: Location) -> tuple[SupernetLog, int]:
    """Read a journal; there may be none yet.

    Returns:
        What it says, and the size in bytes of the part that is whole.

    Raises:
        RunFolderError: a line that is not the last one cannot be read.
    """
    log = SupernetLog()
    if not path.exists():
        return log, 0
    records, size = read_lines(path, _parse)
    for record in records:
        log.hear(record)
    return log, size


def _parse(line: bytes) -> Record:
    value: Any = parse_json(line)
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        raise RunFolderError("not a journal entry")
    needed = {"session": ("from_step", "notices"), "failed": ("error",)}
    for key in needed.get(value["event"], ("step", "phase", "epoch", "elapsed_s", "decisions")):
        if key not in value:
            raise RunFolderError(f"not an entry of a supernet run: {key} is missing")
    check_fields(value, _KINDS)
    return value
