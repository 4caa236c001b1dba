"""The folder of a comparison: what was asked stands in it, so that it only goes on as the same."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from raynas.comparing.method import Method
from raynas.errors import RunFolderError
from raynas.plain import parse_json
from raynas.runs.folder import library_versions, replace_file

ASKED = "comparison.json"
"""What was asked, table and methods; and every version that computed runs of it."""


def open_folder(folder: Path, table: str, methods: Sequence[Method]) -> None:
    """Make the folder, or check that it holds runs of the same table and methods.

    Budgets, seeds and further methods may be added to a comparison that is there.

    Raises:
        RunFolderError: it holds something else, or a method of that name that differs.
    """
    path = folder / ASKED
    configs = {method.name: method.config.model_dump(mode="json") for method in methods}
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file, not a folder")
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise RunFolderError(f"{folder} is not empty: choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, {"table": table, "methods": configs, "versions": _with_ours({})})
        return
    try:
        before = parse_json(path.read_text())
        old_table, old_methods = before["table"], before["methods"]
        versions = _with_ours(before.get("versions", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunFolderError(f"{path}: cannot be read: choose another --out") from None
    if old_table != table:
        raise RunFolderError(f"{folder} compares on {old_table}: choose another --out")
    for name, config in configs.items():
        if old_methods.get(name, config) != config:
            raise RunFolderError(
                f"{folder} has runs of {name!r} with other options: choose another --out, "
                f"or give it another name (name={name.partition('=')[2] or name})"
            )
    _write(path, {"table": table, "methods": {**old_methods, **configs}, "versions": versions})


def _with_ours(before: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the versions by library, oldest first, those of this session among them."""
    versions = {name: list(known) for name, known in before.items()}
    for name, version in library_versions().items():
        known = versions.setdefault(name, [])
        if version is not None and version not in known:
            known.append(version)
    return versions


def _write(path: Path, asked: object) -> None:
    replace_file(path, json.dumps(asked, indent=2).encode() + b"\n")
