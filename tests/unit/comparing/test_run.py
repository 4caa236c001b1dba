"""One run: the books balance, and the incumbent is what a straight search would hold."""

import pytest

from raynas.comparing.method import parse_methods
from raynas.comparing.run import run_method

from .conftest import make_table


def run(table, method="random:nosh", budget=100, seed=0, settings=()):
    return run_method(table, parse_methods(method, table, settings)[0], budget, seed)


@pytest.mark.parametrize("method", ["random:nosh", "random:full", "random:asha", "ranking:nosh"])
def test_the_same_call_gives_the_same_run(table, method):
    plain = ["level0.mode=off"]  # level 0 draws little at random
    first, second = (run(table, method, settings=plain) for _ in range(2))
    assert first.steps == second.steps
    assert run(table, method, seed=1, settings=plain).steps != first.steps
    assert first.epochs <= 100


@pytest.mark.parametrize(("separate", "expected"), [(True, "sum of rungs"), (False, "retrained")])
def test_both_accountings(separate, expected):
    table = make_table(separate=separate)
    record = run(table, "random:nosh", 100)
    fully = round((record.epochs - 2 * record.num_trained) / 8)  # promotions pay 10 - 2
    assert record.epochs == 2 * record.num_trained + 8 * fully
    # In full a promotion pays 10: its own run, or the two epochs trained once more.
    assert record.epochs_in_full == 2 * record.num_trained + 10 * fully, expected


def test_full_length_pays_for_nothing_but_full_length(table):
    record = run(table, "random:full", 105)
    assert record.epochs == record.epochs_in_full == 100
    assert record.num_trained == 10


def test_the_incumbent_is_the_best_of_the_highest_level_by_selection(table):
    record = run(table, "random:full", 200)
    best = float("-inf")
    for step in record.steps:
        row = table.rows[step.architecture]
        assert step.accuracy == table.accuracy[row, 1] > best
        assert step.report == table.report[row]
        best = step.accuracy
    assert record.at(9) is None
    assert record.at(10) == record.steps[0]
    assert record.at(10_000) == record.steps[-1]


def test_ranking_under_nosh_beats_random_at_full_length(table):
    wins = sum(
        run(table, "ranking:nosh", 80, seed).steps[-1].report
        >= run(table, "random:full", 80, seed).steps[-1].report
        for seed in range(8)
    )
    assert wins >= 7
