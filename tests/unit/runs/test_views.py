import json
import math

import pyarrow.parquet as pq

from raynas.runs.folder import RunFolder
from raynas.runs.views import Views
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.testing import FakeObjective, ToySpace, propose_at_random


def run(tmp_path, failing=()):
    folder = RunFolder(tmp_path / "run")
    folder.create({}, {})
    pool = Pool((1, 2, 4))
    views = Views(folder, pool, lambda best: {"space": "toy"})
    history = []

    def emit(event, elapsed_s):
        history.append((event, elapsed_s))
        views.hear(event, elapsed_s)

    policy = NoshPolicy((1, 2, 4), Budget(40), per_round=4)
    search = Search(ToySpace(), policy, pool, seed=0, emit=emit)
    simulate(search, FakeObjective(failing), propose_at_random(search.space))
    views.refresh(force=True)
    return folder, pool, history


def test_one_row_an_architecture_and_one_an_epoch(tmp_path):
    folder, pool, _ = run(tmp_path, failing=[f"a{i}" for i in range(0, 1000, 7)])
    rows = pq.read_table(folder.path / "architectures.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(range(len(pool)))
    assert sum(row["epochs"] for row in rows) == pool.spent_epochs
    for row, candidate in zip(rows, pool, strict=True):
        assert row["level"] == candidate.level
        assert row["status"] == str(candidate.status)
        assert (row["error"] is None) == (candidate.error is None)
        for level in (1, 2, 3):
            known = row[f"accuracy_level_{level}"]
            assert (known is None) == (level > candidate.level)
    results = pq.read_table(folder.path / "results.parquet").to_pylist()
    assert len(results) == pool.spent_epochs
    assert {row["epoch"] for row in results} == {1, 2, 3, 4}
    assert all(math.isfinite(row["accuracy"]) for row in results)


def test_best_says_how_good_and_at_what_cost(tmp_path):
    folder, pool, _ = run(tmp_path)
    best = json.loads((folder.path / "best.json").read_text())
    assert best["architecture"] == pool.best().text
    assert best["accuracy"] == pool.best().accuracy
    assert best["budget_spent"]["epochs"] == pool.spent_epochs
    assert best["space"] == "toy"


def test_views_made_again_from_the_journal_are_the_same(tmp_path):
    folder, pool, history = run(tmp_path)
    names = ["architectures.parquet", "results.parquet", "best.json"]
    before = {name: (folder.path / name).read_bytes() for name in names}
    for name in names:
        (folder.path / name).unlink()
    again = Views(folder, pool, lambda best: {"space": "toy"})
    again.replay(history)
    again.refresh(force=True)
    assert {name: (folder.path / name).read_bytes() for name in names} == before
