"""Training as looking up a table."""

import numpy as np
import pytest

from raynas.errors import DataError, TrialError
from raynas.spaces.architecture import Architecture
from raynas.tabular.format import read_table
from raynas.tabular.objective import TableObjective, TableScorer


def test_a_trial_reads_its_row(write, cells):
    table = read_table(write())
    trial = TableObjective(table).start(Architecture("nasbench201", cells[4]), seed=0)
    first = trial.train(2)
    assert first == {"accuracy": table.accuracy[4, 1], "time_s": 4.0}
    saved = trial.save()
    other = TableObjective(table).start(Architecture("nasbench201", cells[4]), seed=1)
    other.load(saved)
    assert other.train(4) == {"accuracy": table.accuracy[4, 2], "time_s": 4.0}  # the difference


def test_what_is_not_there_is_said(write, cells):
    accuracy = np.full(40, 0.5)
    accuracy[0] = np.nan
    table = read_table(write(valid_e4=accuracy))
    objective = TableObjective(table)
    with pytest.raises(TrialError, match="no accuracy after 4"):
        objective.start(Architecture("nasbench201", cells[0]), 0).train(4)
    with pytest.raises(DataError, match=r"after 3 epochs \(has: 1, 2, 4\)"):
        objective.start(Architecture("nasbench201", cells[1]), 0).train(3)
    with pytest.raises(TrialError, match="is not in toy"):
        objective.start(Architecture("nasbench201", "|none~0|"), 0)


def test_scores_are_the_proxy_columns(write, cells):
    table = read_table(write(proxy_q=np.arange(40.0)))
    chosen = [Architecture("nasbench201", cells[i]) for i in (7, 2)]
    assert [s["q"] for s in TableScorer(table)(chosen)] == [7, 2]
    assert list(TableScorer(table, ["p"])(chosen)[0]) == ["p"]
