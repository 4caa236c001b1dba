"""All runs: kept as they finish, not done twice, the same in one process and in several."""

import json

import pytest

from raynas import api
from raynas.comparing import folder
from raynas.comparing.campaign import Job, Log, run_all
from raynas.comparing.method import parse_methods
from raynas.errors import UsageError
from raynas.tabular.format import Header, write_table


@pytest.fixture
def file(tmp_path, table):
    header = Header(
        name="toy",
        space={"name": "nasbench201"},
        fidelity="separate",
        selection={2: "v2", 10: "v10"},
        report="test",
    )
    columns = {"v2": table.accuracy[:, 0], "v10": table.accuracy[:, 1], "test": table.report}
    columns["proxy_params"] = table.proxies["params"]
    write_table(tmp_path / "toy.parquet", header, list(table.texts), columns)
    return str(tmp_path / "toy.parquet")


OPTIONS = {"methods": "random:nosh,random:full", "budgets": [40, 80], "seeds": 3}


def test_figures_are_the_same_in_several_processes_and_files_hold_them(tmp_path, file):
    one = api.compare(file, **OPTIONS, out=tmp_path / "one", processes=1)
    two = api.compare(file, **OPTIONS, out=tmp_path / "two", processes=2)
    strip = [{k: v for k, v in row.items() if k != "wall_s"} for row in one.rows()]
    assert strip == [{k: v for k, v in row.items() if k != "wall_s"} for row in two.rows()]
    assert [row["budget_epochs"] for row in strip] == [40, 80, 40, 80]
    assert {"method", "budget_epochs", "mean", "ci95", "seeds", "report_metric"} <= set(strip[0])
    assert strip[0]["seeds"] == 3
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {"runs.parquet", "incumbents.parquet", "summary.parquet", "summary.json"} <= names
    assert "random:full" in one.text()


def test_what_is_done_is_not_done_again(tmp_path, file, table, monkeypatch):
    methods = parse_methods("random:nosh", table)
    jobs = [Job(methods[0], 40, seed) for seed in range(4)]
    log = Log(tmp_path / "runs.jsonl")
    first = run_all(file, table, jobs[:2], log, processes=1)
    with (tmp_path / "runs.jsonl").open("a") as torn:
        torn.write('{"method": "random:no')
    ran = []
    from raynas.comparing import campaign

    real = campaign.run_method
    monkeypatch.setattr(
        campaign, "run_method", lambda t, m, b, seed: ran.append(seed) or real(t, m, b, seed)
    )
    records = run_all(file, table, jobs, log, processes=1)
    assert ran == [2, 3]
    assert [r.seed for r in records] == [0, 1, 2, 3]
    assert records[:2] == first
    assert all(json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines())


def test_a_folder_goes_on_only_as_what_it_is(tmp_path, file):
    out = tmp_path / "c"
    api.compare(file, methods="random:full", budgets=[40], seeds=1, out=out, processes=1)
    more = api.compare(file, **OPTIONS, out=out, processes=1)
    assert len(more.records) == 12
    with pytest.raises(UsageError, match="other options"):
        api.compare(
            file, **OPTIONS, out=out, assignments=["random:full.policy.per_round=3"], processes=1
        )
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        api.compare(file, **OPTIONS, out=tmp_path / "d")


def test_every_version_that_computed_runs_is_kept(tmp_path, monkeypatch):
    def asked(ray):
        libraries = {"raynas": "1.0", "ray": ray, "torch": None}
        monkeypatch.setattr(folder, "library_versions", lambda: libraries)
        folder.open_folder(tmp_path / "c", "fashion16", [])
        return json.loads((tmp_path / "c" / folder.ASKED).read_text())["versions"]

    assert asked("2.60.0") == {"raynas": ["1.0"], "ray": ["2.60.0"], "torch": []}
    asked("2.61.0")
    assert asked("2.60.0") == {"raynas": ["1.0"], "ray": ["2.60.0", "2.61.0"], "torch": []}
    (tmp_path / "c" / folder.ASKED).write_text('{"table": "fashion16", "methods": {}}')
    assert asked("2.60.0")["ray"] == ["2.60.0"]
    bad = '{"table": "fashion16", "methods": {}, "versions": [1]}'
    (tmp_path / "c" / folder.ASKED).write_text(bad)
    with pytest.raises(UsageError, match="cannot be read"):
        asked("2.60.0")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budgets": [1]}, "cannot train one"),
        ({"budgets": [10**7]}, "more than all of toy costs"),
        ({"budgets": []}, "at least one"),
        ({"methods": "random:full", "budgets": [8]}, "in full"),
        ({"seeds": 0}, "at least 1"),
        ({"target": 93.0}, "fraction"),
    ],
)
def test_slips_are_said_before_anything_runs(tmp_path, file, changes, words):
    with pytest.raises(UsageError, match=words) as caught:
        api.compare(file, **{**OPTIONS, **changes}, out=tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_the_picture(tmp_path, file):
    pytest.importorskip("matplotlib")
    done = api.compare(file, **OPTIONS, out=tmp_path / "c", processes=1)
    done.draw(tmp_path / "regret.svg")
    drawn = (tmp_path / "regret.svg").read_text()
    assert "<svg" in drawn
    assert "regret" in drawn
