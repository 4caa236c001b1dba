"""Methods by name: what is read, and what a slip is answered with."""

from dataclasses import replace

import numpy as np
import pytest

from raynas.comparing.method import parse_methods
from raynas.errors import UsageError

from .conftest import make_table


def test_reads_names_variants_and_options(table):
    methods = parse_methods(
        "ranking:nosh, random:full,plain=ranking:nosh",
        table,
        ["plain.level0.mode=off", "random:full.policy.per_round=3", "seed=5"],
    )
    assert [m.name for m in methods] == ["ranking:nosh", "random:full", "plain"]
    ranking, random, plain = (m.config for m in methods)
    assert ranking.levels == (2, 10)
    assert random.levels == (10,)  # nothing to look at on the way
    assert ranking.level0.initial == len(table)
    assert ranking.level0.proxies == ("params",)
    assert plain.level0.mode == random.level0.mode == "off"
    assert random.policy.options == {"per_round": 3}
    assert {m.config.seed for m in methods} == {5}


def test_a_curve_is_cut_in_half_again_and_again(table):
    accuracy = np.linspace(0.1, 0.5, 16) * np.ones((len(table), 1))
    curve = replace(table, epochs=tuple(range(1, 17)), accuracy=accuracy, separate_runs=False)
    nosh, full = parse_methods("random:nosh,random:full", curve)
    assert nosh.config.levels == (1, 2, 4, 8, 16)
    assert full.config.levels == (16,)
    sparse = replace(curve, epochs=(3, 10, 20), accuracy=accuracy[:, :3])
    assert parse_methods("random:nosh", sparse)[0].config.levels == (3, 10, 20)


def test_a_table_without_proxies_has_no_level_0():
    (method,) = parse_methods("ranking:nosh", make_table(proxies=False))
    assert method.config.level0.mode == "off"


def check(text, table, assignments):
    for method in parse_methods(text, table, assignments):
        method.check(table, 100)


@pytest.mark.parametrize(
    ("text", "assignments", "words"),
    [
        ("rankin:nosh", [], ["unknown proposer 'rankin'", "did you mean 'ranking'"]),
        ("ranking:nohs", [], ["unknown policy 'nohs'", "did you mean 'nosh'"]),
        ("ranking", [], ["write proposer:policy"]),
        (" , ", [], ["at least one"]),
        ("random:full,random:full", [], ["listed twice"]),
        ("random:full", ["ranking:nosh.policy.x=1"], ["no such method", "random:full"]),
        ("ranking:nosh", ["level0.proxies=[synflo]"], ["no proxy 'synflo'"]),
        ("ranking:nosh", ["levels=[2,9]"], ["after 9 epochs", "2, 10"]),
        ("ranking:nosh", ["policy.per_rond=2"], ["per_round"]),
    ],
)
def test_slips_are_answered_in_one_line(table, text, assignments, words):
    with pytest.raises(UsageError) as caught:
        check(text, table, assignments)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
