"""`raynas table build` with real Ray: trains a sample, keeps the curves, goes on where it was."""

import numpy as np
import pytest

from raynas import api
from raynas.errors import UsageError
from raynas.runs.journal import read_journal
from raynas.tabular.names import load_table

pytestmark = pytest.mark.ray

OPTIONS = {
    "space": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 200, "valid_size": 100},
    "count": 4,
    "epochs": 3,
}


def test_builds_a_table_that_can_be_compared_on_and_goes_on(local_ray, tmp_path):
    out = tmp_path / "built"
    path = api.build_table(**OPTIONS, out=out)
    table = load_table(str(path))
    assert len(table) == 4
    assert table.epochs == (1, 2, 3)
    assert not table.separate_runs
    assert table.report_metric == "test_accuracy_e3"
    assert np.isfinite(table.accuracy).all()
    assert (np.diff(table.time_s, axis=1) > 0).all()
    assert {"params", "flops"} == set(table.proxies)

    # Half of the journal is lost, as if the driver had died: only what is missing is trained.
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    again = load_table(str(api.build_table(**OPTIONS, out=out)))
    assert again.texts == table.texts
    assert (again.accuracy == table.accuracy).all()
    events = [event for event, _ in read_journal(journal)[0]]
    assert len(events) >= len(lines)

    compared = api.compare(
        str(path), methods="random:nosh", budgets=[6], seeds=2, out=tmp_path / "c", processes=1
    )
    assert compared.rows()[0]["mean"] > 0
    with pytest.raises(UsageError, match="another run"):
        api.build_table(**{**OPTIONS, "count": 5}, out=out)
