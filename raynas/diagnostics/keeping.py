"""What a diagnosis leaves in the run folder: finished parts, tables, plots and the summary."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.diagnostics.diagnostic import Finding, Part, Value
from raynas.runs.folder import replace_file
from raynas.runs.tables import write_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Entry = dict[str, Any]
"""What `summary.json` says of one diagnostic."""

_FORMAT = 1
"""Of kept parts; another when what a part measures changes."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Finished parts, so that a diagnosis that was cut off goes on where it was.

    Attributes:
        folder: Where they are.
        of: What they are of: the run, and the seed of the diagnosis.
    """

    folder: Path
    of: Mapping[str, Any]

    def find(self, part: Part) -> tuple[Value] | None:
        """Return what a part came to, in a tuple; None if it is not finished."""
        try:
            kept = json.loads(self._path(part).read_text())
            return (kept["value"],) if kept["asked"] == self._asked(part) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or cut off by a crash: measured again

    def put(self, part: Part, value: Value) -> Value:
        """Keep what a part came to; returns it as it will be read back."""
        text = json.dumps({"asked": self._asked(part), "value": value})
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(part), text.encode())
        return json.loads(text)["value"]

    def _asked(self, part: Part) -> Any:
        asked = {"work": part.name, "arguments": dict(part.arguments), "of": dict(self.of)}
        return json.loads(json.dumps({"format": _FORMAT, **asked}))

    def _path(self, part: Part) -> Path:
        digest = hashlib.blake2b(
            json.dumps(self._asked(part), sort_keys=True).encode(), digest_size=12
        )
        return self.folder / f"{part.work.__name__}-{digest.hexdigest()}.json"


def write_finding(folder: Path, name: str, title: str, finding: Finding, figure: "Figure") -> Entry:
    """Write table, plot and entry of the summary of one diagnostic.

    Args:
        folder: ``RUN/diagnostics``.
        name: Of the diagnostic.
        title: Its heading.
        finding: What it found.
        figure: The plot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entry: Entry = {
        "name": name,
        "title": title,
        "sentences": finding.sentences,
        "table": f"{name}.parquet",
        "plot": f"{name}.svg",
        "settings": finding.settings,
    }
    write_rows(folder / entry["table"], finding.rows)
    replace_file(folder / entry["plot"], as_svg(figure, name))
    write_summary(folder, [entry])
    return entry


def as_svg(figure: "Figure", name: str) -> bytes:
    """Return a figure as SVG: text as text, and the same bytes for the same figure."""
    from matplotlib import rc_context

    sink = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()


def read_summary(folder: Path) -> list[Entry]:
    """Return the summary; nothing if there is none, or it cannot be read."""
    try:
        entries = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and "name" in entry]


def write_summary(folder: Path, entries: Sequence[Entry]) -> None:
    """Put entries into the summary, each in the place of an older one of its name."""
    merged = {entry["name"]: entry for entry in [*read_summary(folder), *entries]}
    text = json.dumps(list(merged.values()), indent=2)
    replace_file(folder / "summary.json", text.encode() + b"\n")
