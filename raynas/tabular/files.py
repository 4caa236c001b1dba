"""Parquet files of measured networks: columns read with their mistakes found, in one line each."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from raynas.errors import DataError, nearest
from raynas.spaces.costs import COUNTS, LATENCIES
from raynas.tabular.table import Floats

PROXY_PREFIX = "proxy_"
"""Columns with zero-cost scores start so."""


class Columns:
    """The columns of one file.

    Args:
        table: What was read.
        path: For messages.
    """

    def __init__(self, table: "pa.Table", path: Path) -> None:
        self._table = table
        self._path = path

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all columns."""
        return frozenset(self._table.column_names)

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What the file says of itself."""
        return dict(self._table.schema.metadata or {})

    def column(self, name: str) -> "pa.ChunkedArray":
        """Return a column; raises `DataError` with the nearest name there is."""
        if name not in self.names:
            columns = sorted(self.names)
            raise DataError(
                f"{self._path}: has no column {name!r}{nearest(name, columns)} "
                f"(has: {', '.join(columns[:12])}{', …' if len(columns) > 12 else ''})"
            )
        return self._table.column(name)

    def floats(self, name: str) -> Floats:
        """Return a numeric column as float64, missing values as NaN."""
        column = self.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"{self._path}: column {name!r} holds {column.type}, not numbers")
        values: Floats = column.to_numpy(zero_copy_only=False).astype(np.float64)
        return values

    def texts(self, name: str) -> list[str]:
        """Return a column of texts."""
        column = self.column(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DataError(f"{self._path}: column {name!r} holds {column.type}, not text")
        try:
            values: list[Any] = column.to_pylist()
        except UnicodeDecodeError:
            raise DataError(f"{self._path}: column {name!r} holds text that is not UTF-8") from None
        if None in values:
            raise DataError(f"{self._path}: row {values.index(None)}: {name!r} is missing")
        return values

    def proxies(self, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Return the zero-cost scores (columns ``proxy_NAME``), a missing one as -inf."""
        found = [n for n in self._table.column_names if n.startswith(PROXY_PREFIX)]
        scores = {}
        for column in found:
            name = column.removeprefix(PROXY_PREFIX)
            if names is None or name in names:
                values = self.floats(column)
                scores[name] = np.where(np.isnan(values), -np.inf, values)
        return scores

    def costs(self) -> dict[str, Floats]:
        """Return what architectures cost to run: the columns that are called so."""
        known = (*COUNTS.values(), *LATENCIES.values())
        return {name: self.floats(name) for name in known if name in self.names}


def read_columns(path: Path) -> Columns:
    """Read a Parquet file, or CSV by its ending; raises `DataError` in one line if it is none."""
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        _ = table.column_names  # decoded only when asked for
        return Columns(table, path)
    except OSError as error:
        words = error.strerror or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read: {words}") from None
    except (pa.ArrowException, ValueError, MemoryError) as error:  # whatever damage does
        kind = "CSV" if path.suffix == ".csv" else "Parquet"
        raise DataError(f"{path}: no {kind} file: {' '.join(str(error).split())}") from None
