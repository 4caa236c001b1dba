import io

import pytest
from rich.console import Console

from raynas.cli.common import duration, percent
from raynas.cli.progress import Lines, LiveTable, Silent, eta_s, line, spent_words, table
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.testing import FakeObjective, ToySpace, propose_at_random

BUDGET = Budget(40)


@pytest.fixture
def search():
    policy = NoshPolicy((1, 2, 4), BUDGET, per_round=4)
    search = Search(ToySpace(), policy, Pool((1, 2, 4)), seed=0)
    simulate(search, FakeObjective(), propose_at_random(search.space))
    search.fit = {"kendall_tau": 0.625}
    return search


def test_a_line_says_what_matters(search):
    text = line(search, BUDGET)
    assert f"{search.pool.spent_epochs} of 40 epochs" in text
    assert f"reached {search.pool.reached(1)} > {search.pool.reached(2)}" in text
    assert f"best {100 * search.pool.best().accuracy:.2f} %" in text
    assert "tau 0.62" in text
    assert "\n" not in text


def test_a_new_search_has_a_line_too():
    policy = NoshPolicy((1, 2, 4), BUDGET)
    assert "best -" in line(Search(ToySpace(), policy, Pool((1, 2, 4)), seed=0), BUDGET)


def test_the_table_shows_every_level(search):
    console = Console(file=io.StringIO(), width=100)
    console.print(table(search, BUDGET))
    text = console.file.getvalue()
    for level in (1, 2, 3):
        assert str(search.pool.reached(level)) in text
    assert "predictor tau 0.62" in text


def test_lines_are_printed_at_each_round_only(search, capsys):
    progress = Lines()
    with progress:
        for _ in range(5):
            progress(search, BUDGET)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_silent_says_nothing(search, capsys):
    with Silent() as progress:
        progress(search, BUDGET)
    assert capsys.readouterr().out == ""


def test_a_live_table_leaves_the_terminal_clean(search):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with LiveTable(console) as progress:
        progress(search, BUDGET)
    assert "reached" in console.file.getvalue()


def test_spent_and_eta_by_unit(search):
    pool = search.pool
    pool.elapsed_s = 90.0
    assert spent_words(pool, Budget(5400.0, Unit.WALL_S)).startswith("1m30s of 1h30m wall clock")
    assert eta_s(pool, Budget(5400.0, Unit.WALL_S)) == 5310
    assert eta_s(pool, Budget(2.0 * pool.spent_epochs)) == pytest.approx(90)
    assert eta_s(Pool((1, 2)), Budget(10)) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3s"), (59.6, "1m00s"), (187, "3m07s"), (3720, "1h02m")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_percent():
    assert percent(0.9123) == "91.23 %"
    assert percent(None) == percent(float("nan")) == "-"
