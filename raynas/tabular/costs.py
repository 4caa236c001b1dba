"""What architectures cost to run, from a user's own file: Parquet or CSV, a row an architecture.

One column says which architecture: ``architecture`` (or ``arch_str``) its text, ``key`` the space's
key of it, or ``index`` its place in a space that can be listed. Another holds the numbers.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from raynas.errors import DataError, InvalidArchitectureError
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import COUNTS
from raynas.spaces.space import EnumerableSpace, SearchSpace
from raynas.tabular.files import Columns, read_columns

_FILE = re.compile(r"(?P<path>.+\.(?:parquet|csv))(?::(?P<column>.+))?", re.IGNORECASE)
_TEXTS = ("architecture", "arch_str")
_WHICH = (*_TEXTS, "key", "index")


@dataclass(frozen=True, eq=False)
class LookedUp:
    """A cost that a file holds.

    Attributes:
        values: Costs, by text or by key.
        space: Whose texts and keys they are.
        source: File and column.
        by_key: Whether `values` are by key.
        strangers: Rows whose text is no architecture of the space.
    """

    values: Mapping[str, float] = field(repr=False)
    space: SearchSpace
    source: str
    by_key: bool = False
    strangers: int = 0
    instant: bool = True

    def __call__(self, architecture: Architecture) -> float:
        """Return what the file says; NaN where it says nothing."""
        name = self.space.key(architecture) if self.by_key else architecture.text
        return self.values.get(name, float("nan"))

    def describe(self) -> dict[str, Any]:
        """Return the file, and how many of its rows are used."""
        return {"file": self.source, "rows": len(self.values), "strangers": self.strangers}


def is_file(text: str) -> bool:
    """Return whether a source is meant to be a file: ``PATH.parquet``, ``PATH.csv:COLUMN``."""
    return _FILE.fullmatch(text) is not None


def read_costs(source: str, name: str, space: SearchSpace) -> LookedUp:
    """Read ``PATH`` or ``PATH:COLUMN``; the same file is read once.

    Args:
        source: Without a column: the one called as the cost, or the only one with numbers.
        name: Of the cost: ``num_params``, ``flops``, ``latency_ms``.
        space: Where the architectures come from.

    Raises:
        DataError: no such file or column; no architecture of the space in it, or one twice.
    """
    match = _FILE.fullmatch(source)
    assert match is not None
    path = Path(match["path"])
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        hash(space)
    except TypeError:
        return _read.__wrapped__(path, 0, match["column"], name, space)
    return _read(path, path.stat().st_mtime_ns, match["column"], name, cast(Hashable, space))


@lru_cache(maxsize=8)
def _read(path: Path, changed: int, column: str | None, name: str, space: Hashable) -> LookedUp:
    assert isinstance(space, SearchSpace)
    columns = read_columns(path)
    which = next((w for w in _WHICH if w in columns.names), None)
    if which is None:
        raise DataError(
            f"{path}: has no column that says which architecture ({', '.join(_WHICH)}; "
            f"has: {', '.join(sorted(columns.names)[:12])})"
        )
    column = column or _column_of(columns, path, which, name)
    numbers = columns.floats(column)
    whole: SearchSpace = getattr(space, "base", space)  # a cut table's rows are the base's
    if which == "key":
        names: list[str | None] = list(columns.texts("key"))
    elif which == "index":
        names = _by_index(columns, path, whole)
    else:
        names = _canonical(columns.texts(which), path, whole)
    values: dict[str, float] = {}
    for row, (text, number) in enumerate(zip(names, numbers, strict=True)):
        if text is None:
            continue
        if text in values:
            raise DataError(f"{path}: row {row}: {text} is listed twice")
        values[text] = float(number)
    strangers = names.count(None)
    return LookedUp(values, space, f"{path}:{column}", which == "key", strangers)


def _column_of(columns: Columns, path: Path, which: str, name: str) -> str:
    """Return the column that holds the cost, where none was named."""
    words = [name, *(word for word, cost in COUNTS.items() if cost == name)]
    found = next((word for word in words if word in columns.names), None)
    if found is not None:
        return found
    others = sorted(columns.names - {which})
    if len(others) == 1:
        return others[0]
    raise DataError(
        f"{path}: say which column is the {name}, as {path}:COLUMN "
        f"(has: {', '.join(others[:30])}{', …' if len(others) > 30 else ''})"
    )


def _by_index(columns: Columns, path: Path, space: SearchSpace) -> list[str | None]:
    if not isinstance(space, EnumerableSpace):
        raise DataError(f"{path}: an index says nothing in {space.name}, which cannot be listed")
    texts = [architecture.text for architecture in space]
    places = columns.floats("index")
    inside = (places >= 0) & (places < len(texts)) & (places == np.floor(places))
    if not inside.all():
        row = int(np.argmin(inside))
        raise DataError(
            f"{path}: row {row}: index {places[row]:g} is not from 0 to {len(texts) - 1}"
        )
    return [texts[int(place)] for place in places]


def _canonical(texts: list[str], path: Path, space: SearchSpace) -> list[str | None]:
    """Return canonical texts, None for what is no architecture of the space."""
    found: list[str | None] = []
    first: InvalidArchitectureError | None = None
    for text in texts:
        try:
            found.append(space.parse(text).text)
        except InvalidArchitectureError as error:
            first = first or error
            found.append(None)
    if first is not None and not any(found):
        raise DataError(f"{path}: holds no architecture of {space.name}: {first}")
    return found
