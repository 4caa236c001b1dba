"""What `raynas diagnose` has written beside a run, as sections of its report.

The files are a run folder's: their texts are escaped and their drawings cleaned like any other.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raynas.errors import DataError
from raynas.report.page import Block, Facts, More, Plot, Prose, Section
from raynas.report.svg import inline_svg

FOLDER = "diagnostics"
SUMMARY = "summary.json"


def diagnostics_sections(run: Path) -> list[Section]:
    """Return a section for each diagnostic; one that says so if they cannot be read."""
    path = run / FOLDER / SUMMARY
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError("not a list of diagnostics")
    except (OSError, ValueError) as error:
        words = f"{FOLDER}/{SUMMARY} cannot be read: {error}"
        return [Section("diagnostics", "Diagnostics", [Prose(words, warning=True)])]
    return [_section(run / FOLDER, number, entry) for number, entry in enumerate(entries)]


def _section(folder: Path, number: int, entry: Mapping[str, Any]) -> Section:
    title = str(entry.get("title") or entry.get("name") or "A diagnostic")
    told = entry.get("sentences")
    sentences = [str(one) for one in told] if isinstance(told, list) else []
    blocks: list[Block] = _plot(folder, number, entry, title, " ".join(sentences))
    settings = entry.get("settings")
    if isinstance(settings, Mapping) and settings:
        known = {name: value for name, value in settings.items() if value is not None}
        rows = [(str(name), _shown(value)) for name, value in known.items()]
        blocks.append(More("Settings", [Facts(rows)]))
    return Section(f"diagnostic-{number}", title, blocks)


def _plot(
    folder: Path, number: int, entry: Mapping[str, Any], title: str, sentence: str
) -> list[Block]:
    name = entry.get("plot")
    if not isinstance(name, str):
        return [Prose(sentence)]
    try:
        if Path(name).name != name or not name.endswith(".svg"):
            raise DataError("is no SVG of that folder")
        source = (folder / name).read_text(encoding="utf-8")
        svg = inline_svg(source, f"diagnostic-{number}-plot", title, sentence)
    except (OSError, UnicodeDecodeError, DataError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return [Prose(sentence), Prose(f"Its plot {name} cannot be shown: {why}", warning=True)]
    return [Plot([svg], sentence)]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
