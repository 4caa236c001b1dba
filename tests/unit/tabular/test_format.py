"""Our Parquet format: it comes back as it went, and says what is wrong in one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raynas.config import Choice
from raynas.errors import UsageError
from raynas.tabular.format import read_table


def test_a_table_comes_back(write, cells):
    table = read_table(write())
    assert table.texts == tuple(cells)
    assert table.epochs == (1, 2, 4)
    assert table.accuracy.shape == (40, 3)
    assert (table.accuracy[:, 2] > table.accuracy[:, 0]).all()
    assert table.report_metric == "test"
    assert table.best_report == table.report.max()
    assert not table.separate_runs
    assert list(table.proxies) == ["p"]
    assert table.time_s[5].tolist() == [2, 4, 8]
    assert table.rows[cells[7]] == 7


def test_a_missing_proxy_is_the_worst_and_a_missing_accuracy_a_failure(write):
    proxy, accuracy = np.ones(40), np.full(40, 0.5)
    proxy[3] = accuracy[4] = np.nan
    table = read_table(write(proxy_p=proxy, valid_e4=accuracy))
    assert table.proxies["p"][3] == -np.inf
    assert np.isnan(table.accuracy[4, 2])


def swapped(cells):
    return [cells[0], *cells[1:3], cells[0], *cells[4:]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"valid_e2": None}, ["no column 'valid_e2'", "valid_e1"]),
        ({"test": None}, ["no column 'test'"]),
        ({"test": np.full(40, 93.2)}, ["test", "93.2", "between 0 and 1"]),
        ({"test": ["much"] * 40}, ["'test'", "not numbers"]),
        ({"header": {"selection": {4: "valid_e4", 2: "valid_e2"}}}, ["[4, 2]", "increase"]),
        ({"header": {"selection": {0: "valid_e1", 2: "valid_e2"}}}, ["epochs"]),
        ({"header": {"time_s": {1: "s_e1"}}}, ["time_s"]),
        ({"header": {"space": Choice(name="nasbench21")}}, ["did you mean 'nasbench201'"]),
        ({"header": {"space": Choice(name="evil:Space")}}, ["evil:Space", "--trust-code"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, changes, words):
    with pytest.raises(UsageError) as caught:
        read_table(write(**changes))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_architectures_are_read_and_none_comes_twice(write, cells):
    first = cells[3].split("~")[0]
    broken = write(texts=[*cells[:3], cells[3].replace(first, "|nor_conv_9x9", 1), *cells[4:]])
    with pytest.raises(UsageError, match=r"row 3: nasbench201: .*nor_conv_9x9"):
        read_table(broken)
    twice = write(texts=swapped(cells))
    with pytest.raises(UsageError, match="twice"):
        read_table(twice)


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / "x.parquet"
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="no Parquet file"):
        read_table(path)
    pq.write_table(pa.table({"architecture": ["a"]}), path)
    with pytest.raises(UsageError, match=r"raynas\.table header"):
        read_table(path)
    for header in ("[]", "{", json.dumps({"format": 7})):
        table = pa.table({"architecture": ["a"]}).replace_schema_metadata({b"raynas.table": header})
        pq.write_table(table, path)
        with pytest.raises(UsageError, match="header") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
