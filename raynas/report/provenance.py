"""What ran a run: command, versions, seed, data; the same for every kind."""

import shlex
from collections.abc import Mapping
from typing import Any

from raynas.errors import RunFolderError
from raynas.report.page import Code, Facts, More, Prose, Section
from raynas.report.words import number
from raynas.runs.folder import RunFolder

STATES = {
    "running": "It is still running; this is what there was when the report was written. ",
    "interrupted": "It was interrupted before its end; this is what there is. ",
}
"""What is said of a run that has not ended."""


def provenance(folder: RunFolder, manifest: Mapping[str, Any]) -> Section:
    """Return the section of what is needed to do it again."""
    data = _mapping(manifest.get("data"))
    task = _mapping(data.get("task"))
    images = {part: data.get(f"{part}_images") for part in ("train", "valid", "test")}
    size, classes = task.get("image_size"), task.get("num_classes")
    rows = [
        ("seed", manifest.get("seed")),
        ("data", data.get("name")),
        ("data fingerprint", data.get("fingerprint")),
        *((f"{part} images", _number(value)) for part, value in images.items()),
        ("images", f"{task.get('in_channels')} x {size} x {size}" if size else None),
        ("classes", classes),
        ("Python", manifest.get("python")),
        ("platform", manifest.get("platform")),
        *_mapping(manifest.get("versions")).items(),
    ]
    facts = Facts([(str(name), str(value)) for name, value in rows if value is not None])
    command = manifest.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    if words:
        words[0] = "raynas" if words[0].endswith(("__main__.py", "raynas")) else words[0]
    blocks = [Code(shlex.join(words))] if words else []
    return Section("provenance", "To do it again", [*blocks, facts, *_config(folder)])


def _config(folder: RunFolder) -> list[More | Prose]:
    try:
        text = folder.config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{folder.config_name}: cannot be read: {error}") from None
    return [More("The whole config", [Code(text)])]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> str | None:
    return number(value) if isinstance(value, int | float) else None
