"""`raynas compare` and `raynas table`: slips are answered in one line, exit code 2."""

import json

import pytest
from typer.testing import CliRunner

from raynas.cli.main import app
from raynas.config import Choice
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.format import Header, write_table


@pytest.fixture
def table(tmp_path):
    space = NasBench201()
    texts = [space.architecture(i).text for i in range(60)]
    header = Header(
        name="toy",
        space=Choice(name="nasbench201"),
        fidelity="curve",
        selection={1: "v1", 4: "v4"},
        report="test",
    )
    grow = [i / 100 for i in range(60)]
    columns = {"v1": grow, "v4": grow, "test": grow}
    write_table(tmp_path / "toy.parquet", header, texts, columns)
    return tmp_path / "toy.parquet"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


MISTAKES = [
    (["--methods", "rankin:nosh"], "did you mean 'ranking'"),
    (["--methods", "ranking:nosch"], "did you mean 'nosh'"),
    (["--methods", "ranking"], "write proposer:policy"),
    (["--budget", "ten"], "no number of epochs"),
    (["--budget", "100,"], "no number of epochs"),
    (["--budget", "1000000"], "more than all of toy costs"),
    (["--budget", "2", "--methods", "random:full"], "in full"),
    (["--seeds", "0"], "at least 1"),
    (["--target", "0.95", "--methods", "random:full", "--budget", "8", "--set", "x=1"], "x"),
    (["--set", "policy.per_rond=3", "--methods", "random:nosh", "--budget", "40"], "per_round"),
    (["--set", "random:nohs.seed=3", "--methods", "random:nosh"], "no such method"),
]


@pytest.mark.parametrize(("arguments", "word"), MISTAKES, ids=lambda v: " ".join(v))
def test_slips(table, tmp_path, arguments, word):
    result = invoke("compare", "--table", table, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert word in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["compare", "--table", "nowhere.parquet"], "no such file or table"),
        (["table", "show", "nb201:nowhere:cifar10"], "is no file"),
        (["table", "import", "x", "y", "--benchmark", "nasbench21"], "did you mean"),
        (["table", "import", "x.pickle", "y", "--benchmark", "natsbench"], "cannot be read"),
        (["table", "build", "--out", "b", "--count", "0"], "at least 1"),
        (["table", "build", "--out", "b", "--space", "nasbench21"], "did you mean"),
        (["table", "build", "--out", "b", "--data", "digit"], "digits"),
    ],
)
def test_slips_about_tables(tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_is_a_list_of_what_was_promised(table, tmp_path):
    result = invoke(
        *["compare", "--table", table, "--methods", "random:nosh,random:full", "--seeds", 2],
        *["--budget", "20,40", "--processes", 1, "--out", tmp_path / "out", "--json"],
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["method"], row["budget_epochs"]) for row in rows] == [
        ("random:nosh", 20),
        ("random:nosh", 40),
        ("random:full", 20),
        ("random:full", 40),
    ]
    assert all(row["seeds"] == 2 and row["report_metric"] == "test" for row in rows)
    assert all(0 < row["mean"] < 100 and row["ci95"] >= 0 for row in rows)
