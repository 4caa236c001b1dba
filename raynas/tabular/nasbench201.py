"""NAS-Bench-201 as an accuracy table, from a Parquet file with one row a cell.

What is read (`DATASETS`): accuracies in percent after 12 epochs and after 200, which are separate
runs with a cosine of their own each; the 200-epoch figures are means over the benchmark's seeds.
`raynas.tabular.official` makes such a table from the benchmark's own download.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from raynas.errors import DataError, nearest
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.files import Columns, read_columns
from raynas.tabular.format import parse_texts
from raynas.tabular.table import AccuracyTable, Floats

_PROXIES = "nasbench201_proxies.parquet"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Which columns stand for what.

    Attributes:
        valid: Selection column by number of epochs.
        report: Column the chosen cell is judged by.
        time_s: Column with the seconds of a run, and how many epochs it had.
        num_params: Column with the number of parameters.
        notes: What a reader of a result should know.
    """

    valid: Mapping[int, str]
    report: str
    time_s: tuple[str, int] | None = None
    num_params: str | None = None
    notes: tuple[str, ...] = ()


DATASETS: Mapping[str, Dataset] = {
    "cifar10": Dataset(
        {12: "c10valid_valid_e12", 200: "c10valid_valid_e200"},
        "c10_test_e200",
        ("c10valid_cost_s_e12", 12),
        "params_c10",
    ),
    "cifar100": Dataset(
        {12: "c100_valid_e12", 200: "c100_test_e200"},
        "c100_test_e200",
        notes=(
            "cifar100 has no 200-epoch validation accuracy in this file: at 200 epochs the test "
            "accuracy is the target that is optimised, not a held-out figure",
        ),
    ),
}
"""Data sets of NAS-Bench-201, by the name in ``nb201:PATH:NAME``."""


def read_nasbench201(path: Path, dataset: str = "cifar10") -> AccuracyTable:
    """Read a file with a row for every cell.

    Args:
        path: Parquet with ``arch_str`` and the columns of `DATASETS`.
        dataset: A name in `DATASETS`.

    Raises:
        DataError: an unknown data set, a missing column, a cell that is none or is listed twice.
    """
    if dataset not in DATASETS:
        raise DataError(
            f"nb201: unknown data set {dataset!r}{nearest(dataset, DATASETS)} "
            f"(allowed: {', '.join(DATASETS)})"
        )
    columns = read_columns(path)
    chosen = DATASETS[dataset]
    space = NasBench201()
    texts = parse_texts(space, columns.texts("arch_str"), path)
    epochs = tuple(sorted(chosen.valid))
    accuracy = np.stack([columns.floats(chosen.valid[e]) for e in epochs], axis=1) / 100
    return AccuracyTable(
        name=f"nb201 {dataset}",
        space=space,
        texts=texts,
        epochs=epochs,
        accuracy=accuracy,
        report=columns.floats(chosen.report) / 100,
        report_metric=chosen.report,
        separate_runs=True,
        time_s=_time_s(columns, chosen, epochs),
        proxies=columns.proxies() | our_proxies(space, texts),
        notes=chosen.notes,
        costs=columns.costs() | _num_params(columns, chosen),
    )


def _time_s(columns: Columns, chosen: Dataset, epochs: tuple[int, ...]) -> Floats | None:
    """Return seconds by epochs, in proportion to the run that was timed."""
    if chosen.time_s is None or chosen.time_s[0] not in columns.names:
        return None
    name, timed = chosen.time_s
    per_epoch = columns.floats(name) / timed
    return per_epoch[:, None] * np.array(epochs, dtype=np.float64)


def _num_params(columns: Columns, chosen: Dataset) -> dict[str, Floats]:
    if chosen.num_params is None or chosen.num_params not in columns.names:
        return {}
    return {"num_params": columns.floats(chosen.num_params)}


def our_proxies(space: NasBench201, texts: Sequence[str]) -> dict[str, Floats]:
    """Return the zero-cost scores of cells that come with raynas, computed by `raynas.proxies`.

    One score a key, on networks of the published size; `tests/speed/proxy_correlation.py` says on
    what images and how well they agree with accuracy.
    """
    scores = pq.read_table(resources.files("raynas.tabular") / "data" / _PROXIES)
    rows = {key: row for row, key in enumerate(scores.column("key").to_pylist())}
    chosen = np.array([rows[space.key(space.parse(text))] for text in texts])
    names = [name for name in scores.column_names if name != "key"]
    return {name: scores.column(name).to_numpy().astype(np.float64)[chosen] for name in names}
