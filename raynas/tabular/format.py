"""The Parquet format of accuracy tables: a row an architecture, a header that explains it.

Columns: ``architecture`` (canonical text); for each number of epochs E a selection column, a
seconds column if measured; a report column; any number of ``proxy_NAME`` columns. Accuracies are
fractions. The schema's metadata holds, under ``raynas.table``, one JSON object::

    {"format": 1, "name": "fm16", "space": {"name": "nasbench201", "channels": 8},
     "fidelity": "curve",                     # or "separate": each number of epochs its own run
     "selection": {"1": "valid_accuracy_e1", "16": "valid_accuracy_e16"},
     "report": "test_accuracy_e16",
     "time_s": {"1": "time_s_e1", "16": "time_s_e16"},   # seconds from the start; may be left out
     "notes": ["what a reader of a result should know"]}

Columns ``num_params``, ``flops``, ``latency_ms`` and ``latency_ms_b32`` say what it costs to run
the network. A file may have more columns than a comparison reads, under any names. Nothing is
unpickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from raynas.config import Choice, Section, construct, validate
from raynas.errors import ConfigError, DataError, InvalidArchitectureError
from raynas.plain import parse_json
from raynas.registry import foreign_code, lookup
from raynas.spaces import SPACES
from raynas.spaces.space import SearchSpace
from raynas.tabular.files import Columns, read_columns
from raynas.tabular.table import AccuracyTable, Floats, check_epochs

FORMAT = 1
_KEY = b"raynas.table"


class Header(Section):
    """What a table's file says of its columns."""

    format: Literal[1] = 1
    name: str
    space: Choice
    fidelity: Literal["curve", "separate"]
    selection: dict[int, str] = Field(min_length=1)
    report: str
    time_s: dict[int, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_table(
    path: Path,
    header: Header,
    texts: list[str],
    columns: Mapping[str, Any],
) -> None:
    """Write a table; swapped in whole, so that a reader never sees half of one.

    Args:
        path: A Parquet file.
        header: What the columns are.
        texts: Canonical texts.
        columns: All other columns by name, as long as `texts`.
    """
    table = pa.table({"architecture": texts, **columns})
    header_json = json.dumps(header.model_dump(mode="json")).encode()
    table = table.replace_schema_metadata({_KEY: header_json})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)


def read_table(path: Path, *, trust_code: bool = False) -> AccuracyTable:
    """Read a table of this format.

    Args:
        path: A Parquet file.
        trust_code: Import a space outside raynas that the file names.

    Raises:
        DataError: no such file, no header, a missing column, an architecture that is none or is
            listed twice, epochs that do not increase.
        ConfigError: the space is code outside raynas and not trusted, or has other options.
    """
    columns = read_columns(path)
    header = read_header(columns, path)
    space = make_space(header.space, path, trust_code=trust_code)
    epochs = tuple(header.selection)
    check_epochs(str(path), epochs)
    accuracy = np.stack([columns.floats(header.selection[e]) for e in epochs], axis=1)
    if header.time_s and set(header.time_s) != set(epochs):
        raise DataError(f"{path}: time_s names other epochs than selection")
    return AccuracyTable(
        name=header.name,
        space=space,
        texts=parse_texts(space, columns.texts("architecture"), path),
        epochs=epochs,
        accuracy=accuracy,
        report=columns.floats(header.report),
        report_metric=header.report,
        separate_runs=header.fidelity == "separate",
        time_s=_time_s(columns, header, epochs),
        proxies=columns.proxies(),
        notes=header.notes,
        costs=columns.costs(),
    )


def read_header(columns: Columns, path: Path) -> Header:
    """Return the header of a file; raises `DataError` if it has none or a wrong one."""
    raw = columns.metadata.get(_KEY)
    if raw is None:
        raise DataError(
            f"{path}: no table of raynas' format (its schema has no raynas.table header); "
            "make one with `raynas table build` or `raynas table import`"
        )
    try:
        return validate(Header, parse_json(raw), where=f"{path}: header: ")
    except (ValueError, TypeError) as error:
        words = " ".join(str(error).split())
        raise DataError(
            words if words.startswith(str(path)) else f"{path}: header: {words}"
        ) from None


def make_space(choice: Choice, path: Path, *, trust_code: bool) -> SearchSpace:
    """Make the space a file names; code outside raynas only if it is trusted."""
    code = None if trust_code else foreign_code("space", choice.name, choice.options, SPACES)
    if code is not None:
        raise ConfigError(f"{path}: space {code!r} is code outside raynas: --trust-code")
    space: SearchSpace = construct("space", lookup("space", choice.name, SPACES), choice.options)
    return space


def parse_texts(space: SearchSpace, texts: list[str], path: Path) -> tuple[str, ...]:
    """Return the canonical texts; raises `DataError` that names the row of one that is none."""
    parsed = []
    for row, text in enumerate(texts):
        try:
            parsed.append(space.parse(text).text)
        except InvalidArchitectureError as error:
            raise DataError(f"{path}: row {row}: {error}") from None
    return tuple(parsed)


def _time_s(columns: Columns, header: Header, epochs: tuple[int, ...]) -> Floats | None:
    if not header.time_s:
        return None
    return np.stack([columns.floats(header.time_s[e]) for e in epochs], axis=1)
