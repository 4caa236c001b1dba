"""The tables of the field in ../shared, and their names."""

import numpy as np
import pytest

from raynas.errors import UsageError
from raynas.tabular.names import load_table


def test_nas_bench_201(shared_data):
    table = load_table(f"nb201:{shared_data / 'nb201.parquet'}:cifar10")
    assert len(table) == 15_625
    assert table.epochs == (12, 200)
    assert table.separate_runs
    assert 100 * table.best_report == pytest.approx(94.3733, abs=1e-4)
    assert table.report.argmax() == 6111 == table.accuracy[:, 1].argmax()
    assert {"synflow", "jacob_cov", "params"} <= set(table.proxies)
    hundred = load_table(f"nb201:{shared_data / 'nb201.parquet'}:cifar100")
    assert 100 * hundred.best_report == pytest.approx(73.5133, abs=1e-4)
    assert "target" in hundred.notes[0]


def test_our_proxies_are_one_score_a_key_and_agree_with_the_column_of_parameters(shared_data):
    import pandas as pd

    file = shared_data / "nb201.parquet"
    table = load_table(f"nb201:{file}:cifar10")
    keys = [table.space.key(table.space.parse(text)) for text in table.texts]
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    of_key = np.array([first[key] for key in keys])
    assert (table.proxies["synflow"] == table.proxies["synflow"][of_key]).all()
    exact = pd.read_parquet(file)["params_c10"].to_numpy()
    rows = sorted(first.values())
    assert (table.proxies["params"][rows] == exact[rows]).all()


def test_nas_bench_101(shared_data):
    table = load_table(f"nb101:{shared_data / 'nb101.parquet'}")
    assert len(table) == 15_015
    assert table.epochs == (4, 12, 36, 108)
    assert 100 * table.best_report == pytest.approx(94.91, abs=5e-3)
    assert list(table.proxies) == ["params"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("nb201:missing.parquet:cifar10", "missing.parquet is no file"),
        ("nb201:{nb201}", "which data set"),
        ("nb201:{nb201}:cifar11", "did you mean 'cifar10'"),
        ("nb101:", "is no file"),
        ("nb101:{nb201}", "no column"),
        ("nowhere.parquet", "no such file or table"),
        ("fashion", "fashion16"),
        ("{nb201}", r"raynas.table header"),
    ],
)
def test_names_that_lead_nowhere(shared_data, name, word):
    with pytest.raises(UsageError, match=word) as caught:
        load_table(name.format(nb201=shared_data / "nb201.parquet"))
    assert "\n" not in str(caught.value)


def test_the_table_that_comes_with_raynas():
    table = load_table("fashion16")
    assert table.epochs == tuple(range(1, 17))
    assert not table.separate_runs
    assert len({table.space.key(table.space.parse(text)) for text in table.texts}) == len(table)
    assert len(table) >= 300
    assert table.report_metric == "test_accuracy_e16"
    assert np.nanmean(table.report) > 0.7
    assert np.corrcoef(table.accuracy[:, -1], table.report)[0, 1] > 0.9
