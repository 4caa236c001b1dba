"""Costs from a user's file: by text, by key, by index, and what a slip is answered with."""

import math

import pandas as pd
import pytest

from raynas.errors import DataError
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.costs import is_file, read_costs
from raynas.tabular.names import load_table
from raynas.tabular.objective import TableObjective
from raynas.testing import ToySpace

SPACE = ToySpace(20)


@pytest.fixture
def write(tmp_path):
    def write(name="ms.csv", **columns):
        path = tmp_path / name
        frame = pd.DataFrame(columns)
        frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
        return str(path)

    return write


@pytest.mark.parametrize("name", ["ms.csv", "ms.parquet"])
@pytest.mark.parametrize(
    "which", [{"architecture": ["a2", "a7"]}, {"key": ["a2", "a7"]}, {"index": [2, 7]}]
)
def test_says_what_the_file_says(write, name, which):
    found = read_costs(write(name, **which, latency_ms=[1.5, 3], other=[0, 0]), "latency_ms", SPACE)
    assert found(Architecture("toy", "a7")) == 3
    assert math.isnan(found(Architecture("toy", "a3")))
    assert found.instant


def test_which_column_holds_the_cost(write):
    only = write(architecture=["a1"], pixel=[4])
    assert read_costs(only, "latency_ms", SPACE)(Architecture("toy", "a1")) == 4
    named = f"{write('b.csv', architecture=['a1'], pixel=[4], fpga=[5])}:fpga"
    assert read_costs(named, "latency_ms", SPACE)(Architecture("toy", "a1")) == 5
    by_word = write("c.csv", architecture=["a1"], params=[6], fpga=[5])
    assert read_costs(by_word, "num_params", SPACE)(Architecture("toy", "a1")) == 6


def test_texts_are_made_canonical_and_strangers_are_counted(write):
    space = NasBench201()
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"
    found = read_costs(
        write(arch_str=[f" {cell} ", "no cell"], latency_ms=[2, 3]), "latency_ms", space
    )
    assert found(space.parse(cell)) == 2
    assert found.describe()["rows"] == found.describe()["strangers"] == 1


def test_a_file_that_changed_is_read_again(write):
    first = read_costs(write(key=["a1"], latency_ms=[2]), "latency_ms", SPACE)
    again = read_costs(write(key=["a1"], latency_ms=[3]), "latency_ms", SPACE)
    assert (first(Architecture("toy", "a1")), again(Architecture("toy", "a1"))) == (2, 3)
    assert read_costs(write(key=["a1"], latency_ms=[3]), "latency_ms", ToySpace()) is not again


@pytest.mark.parametrize(
    ("columns", "suffix", "words"),
    [
        ({"arch": ["a1"], "latency_ms": [1]}, "", "which architecture .*has: arch"),
        ({"key": ["a1"], "a": [1], "b": [2]}, "", "say which column .*:COLUMN .*has: a, b"),
        ({"key": ["a1"], "pixel": [1]}, ":pixle", "no column 'pixle', did you mean 'pixel'"),
        ({"key": ["a1"], "ms": ["fast"]}, "", "holds string, not numbers"),
        ({"key": ["a1", "a1"], "ms": [1, 2]}, "", "row 1: a1 is listed twice"),
        ({"index": [3, 20], "ms": [1, 2]}, "", "row 1: index 20 is not from 0 to 19"),
        ({"architecture": ["b1", "b2"], "ms": [1, 2]}, "", "holds no architecture of toy"),
    ],
)
def test_slips_are_answered_in_one_line(write, columns, suffix, words):
    with pytest.raises(DataError, match=words) as caught:
        read_costs(write(**columns) + suffix, "latency_ms", SPACE)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_costs(str(tmp_path / "none.csv"), "latency_ms", SPACE)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no Parquet file"):
        read_costs(str(tmp_path / "torn.parquet"), "latency_ms", SPACE)
    (tmp_path / "torn.csv").write_text("key,ms\na1\n")
    with pytest.raises(DataError, match="no CSV file"):
        read_costs(str(tmp_path / "torn.csv"), "latency_ms", SPACE)


def test_a_file_or_a_function():
    assert is_file("a.parquet")
    assert is_file("/b c/a.CSV:pixel3")
    assert not is_file("mine.module:function")
    assert not is_file("device")


def test_latencies_of_real_hardware_by_index(shared_data):
    space = NasBench201()
    found = read_costs(str(shared_data / "nb201_latency.parquet") + ":pixel3", "latency_ms", space)
    expected = pd.read_parquet(shared_data / "nb201_latency.parquet")["pixel3"]
    cells = pd.read_parquet(shared_data / "nb201.parquet")["arch_str"]
    for row in (0, 1, 6111, 15_624):
        assert found(space.parse(cells[row])) == expected[row]


def test_tables_know_costs_themselves(shared_data):
    table = load_table(f"nb201:{shared_data / 'nb201.parquet'}:cifar10")
    objective = TableObjective(table)
    exact = pd.read_parquet(shared_data / "nb201.parquet")["params_c10"]
    source = objective.costs["num_params"]
    assert source(Architecture("nasbench201", table.texts[5])) == exact[5]
    assert math.isnan(source(Architecture("nasbench201", "not there")))
    assert {"num_params", "flops"} <= set(load_table("fashion16").costs)
    assert set(load_table(f"nb101:{shared_data / 'nb101.parquet'}").costs) == {"num_params"}
