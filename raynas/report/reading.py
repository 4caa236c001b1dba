"""Files of a run folder, read with a word for whoever has changed them."""

import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from raynas.errors import RunFolderError


def read_parquet(path: Path, needed: Iterable[str]) -> pd.DataFrame:
    """Read a table that has all columns that are needed.

    Raises:
        RunFolderError: it cannot be read, or lacks one.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read: {_one_line(error)}") from None
    _check(path, list(map(str, table.columns)), needed)
    return table


def read_object(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has all keys that are needed.

    Raises:
        RunFolderError: it cannot be read, is something else, or lacks one.
    """
    value = _read_json(path)
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: not a JSON object")
    _check(path, value, needed)
    return value


def read_objects(path: Path, needed: Iterable[str]) -> list[dict[str, Any]]:
    """Read a JSON list of objects, each with all keys that are needed.

    Raises:
        RunFolderError: it cannot be read, is something else, or one lacks a key.
    """
    return check_objects(path, _read_json(path), needed)


def check_objects(path: Path, value: Any, needed: Iterable[str]) -> list[dict[str, Any]]:
    """Return a value read from a file if it is a list of objects with all keys that are needed.

    Raises:
        RunFolderError: it is not.
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise RunFolderError(f"{path}: not a JSON list of objects")
    for one in value:
        _check(path, one, needed)
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read: {_one_line(error)}") from None


def _check(path: Path, found: Container[str], needed: Iterable[str]) -> None:
    for name in needed:
        if name not in found:
            raise RunFolderError(f"{path}: has no {name!r}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
