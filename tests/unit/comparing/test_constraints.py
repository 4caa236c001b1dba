"""Limits and fronts by brute force on tables: what may be trained, and what is best of all that."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import raynas
from raynas.comparing.method import parse_methods
from raynas.comparing.run import run_method
from raynas.proposing import PROPOSERS
from raynas.scheduling import POLICIES
from raynas.scheduling.events import Started
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.setup import set_up
from raynas.tabular.names import load_table
from raynas.tabular.objective import TableObjective
from raynas.tabular.space import searchable

from .conftest import make_table

FAST = {
    "ranking": ["predictor.ensemble=2", "predictor.epochs=3"],
    "bananas": ["predictor.ensemble=2", "predictor.epochs=3"],
    "brp": ["predictor.epochs=3"],
    "gin": ["predictor.epochs=3"],
    "arch2vec": ["autoencoder.epochs=1", "regression.epochs=3"],
    "mfnas": ["proxy=params"],
}


@pytest.fixture(scope="module")
def table():
    """A table whose networks have parameters and a latency; the accurate ones tend to be dear."""
    plain = make_table()
    rng = np.random.default_rng(9)
    params = np.array([1000.0 * text.count("3x3") for text in plain.texts]) + 500
    latency = params / 1000 + rng.random(len(plain)) * 4
    return replace(plain, costs={"num_params": params, "latency_ms": latency})


def search(table, tmp_path, proposer="random", *, budget, policy="nosh", **options):
    sets = [f"proposer.{option}" for option in FAST.get(proposer, [])]
    return raynas.search(
        space=searchable(table),
        objective=TableObjective(table),
        levels=table.epochs,
        budget=budget,
        policy=policy,
        proposer=proposer,
        assignments=("level0.mode=off", *sets),
        engine="simulate",
        out=tmp_path / "run",
        **options,
    )


def in_memory(table, method, budget, *assignments):
    """Run a method as `raynas compare` does; return its pool and all that was ever started."""
    (method,) = parse_methods(method, table, ["level0.mode=off", *assignments])
    config, parts = method.at(budget, 0), method.parts(table)
    setup, events = set_up(config, parts, workers=1), []
    search = Search(
        setup.space,
        setup.policy,
        Pool(config.levels),
        seed=0,
        emit=lambda event, _: events.append(event),
        report_epochs=list(config.levels),
        limits=setup.limits,
    )
    simulate(search, setup.objective, setup.answer)
    started = [search.pool[event.id] for event in events if isinstance(event, Started)]
    return search.pool, started


@pytest.mark.parametrize(
    "method",
    [
        *(f"{name}:nosh" for name in PROPOSERS),
        *(f"random:{policy}" for policy in POLICIES if policy != "nosh"),
    ],
)
def test_nothing_over_a_limit_is_ever_trained(table, method):
    limits = {"num_params": 5600, "latency_ms": 5}
    options = [f"proposer.{option}" for option in FAST.get(method.partition(":")[0], [])]
    pool, started = in_memory(
        table,
        method,
        70,
        "constraints.max_params=5600",
        "constraints.max_latency_ms=5",
        *options,
    )
    within = np.all([table.costs[name] <= limit for name, limit in limits.items()], axis=0)
    assert 0 < within.sum() < len(table) / 2
    assert len(pool) >= 7
    assert len(started) >= len(pool)
    for candidate in (*started, *pool):
        row = table.rows[candidate.text]
        assert within[row]
        assert candidate.costs == {name: table.costs[name][row] for name in limits}


def exhaustive_front(accuracy, *costs):
    """Return the rows nobody dominates, by comparing each with each."""
    values = np.stack([accuracy, *(-cost for cost in costs)], axis=1)
    return {
        i
        for i, own in enumerate(values)
        if not ((values >= own).all(axis=1) & (values > own).any(axis=1)).any()
    }


@pytest.mark.parametrize("objectives", ["accuracy,latency", "accuracy,latency,params"])
@pytest.mark.parametrize("policy", ["full", "nosh"])
def test_a_budget_for_the_whole_space_finds_the_whole_front(table, tmp_path, objectives, policy):
    limits = {"max_latency_ms": 7.5}
    within = np.flatnonzero(table.costs["latency_ms"] <= 7.5)
    result = search(
        table,
        tmp_path,
        "random" if policy == "full" else "ranking",
        budget=10 * len(within),
        policy=policy,
        constraints=limits,
        objectives=objectives,
    )
    assert len(result.pool) == len(within)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["front"] == result.front == result.summary()["front"]
    names = ("latency_ms", "num_params")[: objectives.count(",")]
    found = {table.rows[row["architecture"]] for row in result.front}
    reached = [table.rows[c.text] for c in result.pool if c.level == 2]
    costs = [table.costs[name] for name in names]
    if policy == "full":
        assert sorted(reached) == sorted(within)
    front = exhaustive_front(table.accuracy[reached, 1], *(cost[reached] for cost in costs))
    assert found == {reached[i] for i in front}
    assert len(found) > 2
    accuracies = [row["accuracy"] for row in result.front]
    assert accuracies == sorted(accuracies, reverse=True)
    assert best["architecture"] == result.front[0]["architecture"]
    assert best["accuracy"] == max(table.accuracy[reached, 1])


def test_views_show_costs_and_the_manifest_where_they_come_from(table, tmp_path):
    result = search(
        table, tmp_path, budget=60, constraints={"max_params": 9000}, objectives="accuracy,latency"
    )
    rows = pq.read_table(tmp_path / "run" / "architectures.parquet").to_pylist()
    for row, candidate in zip(rows, result.pool, strict=True):
        assert row["num_params"] == candidate.costs["num_params"]
        assert row["latency_ms"] == candidate.costs["latency_ms"]
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["costs"] == {"num_params": "table toy", "latency_ms": "table toy"}
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert set(best["costs"]) == {"num_params", "latency_ms"}


def test_a_search_without_any_leaves_what_it_left_before(table, tmp_path):
    result = search(table, tmp_path, budget=60)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert "front" not in best
    assert "costs" not in best
    assert result.front is None
    assert (
        "latency_ms" not in pq.read_table(tmp_path / "run" / "architectures.parquet").schema.names
    )


def test_a_resume_replays_costs(table, tmp_path):
    options = {"constraints": {"max_latency_ms": 6}, "objectives": "accuracy,latency"}
    result = search(table, tmp_path, budget=100, **options)
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    again = raynas.resume(
        tmp_path / "run",
        space=searchable(table),
        objective=TableObjective(table),
        engine="simulate",
    )
    assert [(c.text, c.level, c.costs) for c in again.pool] == [
        (c.text, c.level, c.costs) for c in result.pool
    ]
    assert again.front == result.front


def test_journals_from_before_costs_are_read(table, tmp_path):
    result = search(table, tmp_path, budget=60)
    journal = tmp_path / "run" / "journal.jsonl"
    old = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in old:
        for newcomer in (*entry.get("admitted", ()), *entry.get("scored", ())):
            del newcomer["costs"]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in old))
    again = raynas.resume(
        tmp_path / "run",
        space=searchable(table),
        objective=TableObjective(table),
        engine="simulate",
    )
    assert [(c.text, c.level) for c in again.pool] == [(c.text, c.level) for c in result.pool]


def test_a_comparison_keeps_within_limits_too(table):
    (method,) = parse_methods(
        "random:nosh", table, ["constraints.max_latency_ms=5", "level0.mode=off"]
    )
    method.check(table, 100)
    record = run_method(table, method, 200, seed=0)
    assert record.steps
    for step in record.steps:
        assert table.costs["latency_ms"][table.rows[step.architecture]] <= 5


# -- real hardware -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nb201(shared_data):
    """NAS-Bench-201, and its latencies on a Pixel 3."""
    table = load_table(f"nb201:{shared_data / 'nb201.parquet'}:cifar10")
    file = shared_data / "nb201_latency.parquet"
    return table, f"{file}:pixel3", pd.read_parquet(file)["pixel3"].to_numpy(dtype=np.float64)


def test_the_front_of_real_hardware(nb201, tmp_path):
    """A budget for all that a Pixel 3 runs within 2 ms: the front is the exhaustive one."""
    table, source, latency = nb201
    space = table.space
    cheapest = {}
    for row in np.flatnonzero(latency <= 2):
        key = space.key(space.parse(table.texts[row]))
        if key not in cheapest or latency[row] < latency[cheapest[key]]:
            cheapest[key] = row
    rows = np.array(sorted(cheapest.values()))
    result = search(
        table,
        tmp_path,
        budget=200 * len(rows),
        policy="full",
        constraints={"max_latency_ms": 2, "latency": source},
        objectives="accuracy,latency",
    )
    assert sorted(table.rows[c.text] for c in result.pool) == rows.tolist()
    front = exhaustive_front(table.accuracy[rows, 1], latency[rows])
    assert {table.rows[row["architecture"]] for row in result.front} == {rows[i] for i in front}
    assert len(result.front) > 3
    assert all(row["costs"]["latency_ms"] <= 2 for row in result.front)


@pytest.mark.parametrize("method", ["ranking:nosh", "evolution:full", "local:asha"])
def test_no_proposer_trains_what_real_hardware_is_too_slow_for(nb201, method):
    table, source, latency = nb201
    options = [f"proposer.{option}" for option in FAST.get(method.partition(":")[0], [])]
    pool, started = in_memory(
        table,
        method,
        800,
        "constraints.max_latency_ms=3",
        f"constraints.latency={source}",
        *options,
    )
    slow = latency > 3
    assert slow.mean() > 0.85
    assert len(started) >= 4
    assert not any(slow[table.rows[candidate.text]] for candidate in (*started, *pool))
