"""Rows of values as a Parquet file, swapped in whole."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raynas.runs.folder import replace_file


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a Parquet file; a key that a row lacks is null. No rows: no file.

    Args:
        path: The file; a reader sees the old or the new one, whole.
        rows: Plain values by column name.
    """
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = pa.table({key: [row.get(key) for row in rows] for key in columns})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    replace_file(path, sink.getvalue())
