"""Properties of aggregated proxies, against definitions written with loops."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import ConfigError
from raynas.proxies.vote import aggregate, copeland, vote_margins

NAMES = ("synflow", "snip", "jacob_cov")
values = st.one_of(
    st.integers(-3, 3).map(float),  # many ties
    st.floats(-1e300, 1e300),
    st.sampled_from([math.nan, -math.inf]),
)
rows = st.fixed_dictionaries(dict.fromkeys(NAMES, values))
tables = st.lists(rows, min_size=1, max_size=9)


def worth(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def rank(value: float, column: list[float]) -> float:
    """Number of others below, equals counting half."""
    below = sum(worth(other) < worth(value) for other in column)
    equal = sum(worth(other) == worth(value) for other in column) - 1
    return below + equal / 2


def margin(first: dict[str, float], second: dict[str, float]) -> int:
    return sum(
        (worth(first[n]) > worth(second[n])) - (worth(first[n]) < worth(second[n])) for n in NAMES
    )


@given(tables)
def test_borda_is_the_mean_of_ranks(table: list[dict[str, float]]) -> None:
    columns = {name: [row[name] for row in table] for name in NAMES}
    expected = [sum(rank(row[n], columns[n]) for n in NAMES) / len(NAMES) for row in table]
    assert aggregate(table) == pytest.approx(expected)


@given(tables)
def test_vote_counts_majorities_won(table: list[dict[str, float]]) -> None:
    expected = [
        sum(
            1.0 if margin(mine, other) > 0 else 0.5 if margin(mine, other) == 0 else 0.0
            for j, other in enumerate(table)
            if j != i
        )
        for i, mine in enumerate(table)
    ]
    assert copeland(table).tolist() == expected
    margins = vote_margins(table)
    assert margins.tolist() == [[margin(a, b) for b in table] for a in table]
    assert np.array_equal(margins, -margins.T)


@given(tables)
def test_vote_never_contradicts_copeland_and_borda_splits_its_ties(
    table: list[dict[str, float]],
) -> None:
    wins, borda, vote = copeland(table), aggregate(table), aggregate(table, "vote")
    for i in range(len(table)):
        for j in range(len(table)):
            assert (vote[i] > vote[j]) == ((wins[i], borda[i]) > (wins[j], borda[j]))


@given(tables, st.sampled_from(["borda", "vote"]), st.randoms())
def test_the_order_of_the_table_does_not_matter(table, how, random) -> None:
    shuffled = list(range(len(table)))
    random.shuffle(shuffled)
    assert aggregate([table[i] for i in shuffled], how).tolist() == [
        aggregate(table, how)[i] for i in shuffled
    ]


@given(tables, st.sampled_from(["borda", "vote"]))
def test_only_the_order_within_a_proxy_counts(table, how) -> None:
    ranked = [
        {n: math.exp(rank(row[n], [other[n] for other in table])) for n in NAMES} for row in table
    ]
    assert aggregate(ranked, how).tolist() == aggregate(table, how).tolist()


@given(tables, st.sampled_from(["borda", "vote"]), st.sampled_from(NAMES))
def test_a_better_score_never_harms(table, how, name) -> None:
    raised = [dict(row) for row in table]
    raised[0][name] = 1e301
    before, after = aggregate(table, how), aggregate(raised, how)
    for j in range(1, len(table)):
        if before[0] > before[j]:
            assert after[0] > after[j]


@given(tables, st.sampled_from(["borda", "vote"]))
def test_one_proxy_gives_its_own_order_with_the_unknown_last(table, how) -> None:
    scores = aggregate(table, how, names=["snip"])
    column = [worth(row["snip"]) for row in table]
    for i in range(len(table)):
        for j in range(len(table)):
            assert (scores[i] > scores[j]) == (column[i] > column[j])


def test_a_missing_score_counts_as_the_worst() -> None:
    table = [{"snip": 1.0}, {"snip": -5.0, "extra": 1.0}, {}]
    assert aggregate(table, names=["snip"]).tolist() == [2, 1, 0]
    assert aggregate(table).tolist() == [(2 + 0.5) / 2, (1 + 2) / 2, (0 + 0.5) / 2]


def test_a_cycle_of_majorities_is_a_tie() -> None:
    cycle = [dict(zip(NAMES, row, strict=True)) for row in ([3, 2, 1], [2, 1, 3], [1, 3, 2])]
    assert vote_margins(cycle).tolist() == [[0, 1, -1], [-1, 0, 1], [1, -1, 0]]
    assert copeland(cycle).tolist() == [1, 1, 1]
    assert len(set(aggregate(cycle, "vote"))) == 1


def test_who_beats_everybody_wins_the_vote_whatever_the_ranks_say() -> None:
    total = 40
    table = [dict.fromkeys(NAMES, float(i)) for i in range(total)]
    table[-1]["snip"] = -1.0  # beats all by two to one, but is the last of all in one proxy
    table[-2] |= {"snip": 99.0}
    assert np.argmax(aggregate(table)) == total - 2
    assert np.argmax(aggregate(table, "vote")) == total - 1
    assert copeland(table).tolist()[-2:] == [total - 2, total - 1]


def test_nothing_gives_nothing() -> None:
    assert aggregate([]).shape == aggregate([], "vote").shape == (0,)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ([{"snip": 1.0}], {"how": "bordas"}, "unknown aggregation 'bordas', did you mean 'borda'"),
        ([{"snip": 1.0}], {"names": ["snap"]}, "no score|score 'snap', did you mean 'snip'"),
        ([{}], {}, "no proxies"),
        ([{"snip": 1.0}], {"names": []}, "no proxies"),
    ],
)
def test_errors_say_what_is_allowed(table, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        aggregate(table, **options)


@pytest.mark.parametrize(("how", "limit_s"), [("borda", 0.5), ("vote", 3.0)])
def test_three_thousand_architectures_are_no_matter(how, limit_s) -> None:
    numbers = np.random.default_rng(0).normal(size=(3000, 3))
    table = [dict(zip(NAMES, row, strict=True)) for row in numbers.tolist()]
    started = time.process_time()
    scores = aggregate(table, how)
    assert time.process_time() - started < limit_s
    assert len(set(scores.tolist())) > 1000
