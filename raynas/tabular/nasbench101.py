"""NAS-Bench-101 as an accuracy table, from a Parquet file with one row a cell.

Accuracies are validation accuracies of one run each at 4, 12, 36 and 108 epochs, which are separate
runs with a cosine of their own each. There is no test accuracy in such a file, so the validation
accuracy at full length is the target.
"""

from pathlib import Path

import numpy as np

from raynas.errors import DataError
from raynas.spaces.nasbench101 import OPS, NasBench101
from raynas.tabular.files import read_columns
from raynas.tabular.format import parse_texts
from raynas.tabular.table import AccuracyTable

EPOCHS = (4, 12, 36, 108)
"""Numbers of epochs that were trained."""

REPORT = f"valid_acc_e{EPOCHS[-1]}"


def read_nasbench101(path: Path) -> AccuracyTable:
    """Read a file with columns ``adjacency_upper``, ``ops``, ``valid_acc_e4`` … and ``params``.

    The number of parameters is a cost, and a proxy that costs nothing: it is offered as both.

    Raises:
        DataError: a missing column, a cell that is none or is listed twice.
    """
    columns = read_columns(path)
    space = NasBench101()
    written = []
    rows = zip(columns.texts("ops"), columns.texts("adjacency_upper"), strict=True)
    for row, (ops, bits) in enumerate(rows):
        if not set(ops) <= set("0123456789"[: len(OPS)]):
            raise DataError(
                f"{path}: row {row}: ops {ops!r} are not digits from 0 to {len(OPS) - 1}"
            )
        written.append(",".join(OPS[int(op)] for op in ops) + ":" + bits)
    proxies, costs = columns.proxies(), columns.costs()
    if "params" in columns.names:
        proxies["params"] = costs["num_params"] = columns.floats("params")
    return AccuracyTable(
        name="nb101",
        space=space,
        texts=parse_texts(space, written, path),
        epochs=EPOCHS,
        accuracy=np.stack([columns.floats(f"valid_acc_e{e}") for e in EPOCHS], axis=1),
        report=columns.floats(REPORT),
        report_metric=REPORT,
        separate_runs=True,
        proxies=proxies,
        costs=costs,
        notes=(
            "nb101 has no test accuracy in this file: the validation accuracy at 108 epochs is the "
            "target that is optimised, not a held-out figure",
        ),
    )
