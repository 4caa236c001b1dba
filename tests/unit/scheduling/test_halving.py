"""Successive halving and Hyperband: worked examples, and what they refuse."""

import pytest

from raynas.errors import ConfigError, TrialError
from raynas.scheduling.budget import Budget, nosh_cost
from raynas.scheduling.candidate import Status
from raynas.scheduling.halving import HyperbandPolicy, SuccessiveHalvingPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search
from raynas.scheduling.simulate import simulate
from raynas.spaces.architecture import Architecture
from raynas.testing import FakeObjective, PolicyContract, ToySpace, run_simulated


class TestOneCohort(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: SuccessiveHalvingPolicy(self.levels, budget)


class TestCohorts(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: SuccessiveHalvingPolicy(self.levels, budget, cohort=6)


class TestHyperband(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: HyperbandPolicy(self.levels, budget)


class ByNumber(FakeObjective):
    """The higher its number, the better an architecture; some fail at an epoch."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.fails_at = fails_at or {}

    def metrics(self, text, epoch):
        number = int(text[1:])
        if epoch >= self.fails_at.get(number, 10**6):
            raise TrialError("diverged")
        return {"accuracy": number / 1000}


def in_order(request, snapshot, state):
    first = len(snapshot.candidates)
    return Proposals(
        "in order", [Architecture("toy", f"a{first + n}") for n in range(request.count)]
    )


def run(policy, fails_at=None, workers=1):
    """Return the pool, and the sizes of the rounds asked for."""
    search = Search(ToySpace(), policy, Pool(policy.epochs_per_level), seed=0)
    simulate(search, ByNumber(fails_at), in_order, workers=workers)
    return search.pool, [
        sum(c.round == number for c in search.pool) for number in range(search.pool.rounds)
    ]


def test_a_cohort_by_hand():
    """9 to epoch 1, the best 3 to 3, the best 1 to 9: 9 + 3 * 2 + 1 * 6 = 21 epochs."""
    pool, rounds = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(21)))
    assert rounds == [9]
    assert [c.epochs for c in pool] == [1, 1, 1, 1, 1, 1, 3, 3, 9]
    assert pool.spent_epochs == 21


def test_cohorts_until_the_budget_is_spent_and_the_last_shrinks():
    """21 + 21 of 54 leave 12: of 4, 1 trains to 3 and to 9, 4 + 2 + 6 = 12."""
    pool, rounds = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(54), cohort=9))
    assert rounds == [9, 9, 4]
    assert pool.population() == [22, 7, 3]
    assert pool.spent_epochs == 54


def test_losers_are_out_for_good():
    """Everybody of the second cohort is better than the losers of the first, and vice versa."""
    for sign in (1, -1):

        class Trend(ByNumber):
            def metrics(self, text, epoch, sign=sign):
                return {"accuracy": 0.5 + sign * int(text[1:]) / 1000}

        policy = SuccessiveHalvingPolicy((1, 3, 9), Budget(42), cohort=9)
        search = Search(ToySpace(), policy, Pool((1, 3, 9)), seed=0)
        simulate(search, Trend(), in_order)
        for number in (0, 1):
            cohort = [c for c in search.pool if c.round == number]
            assert sorted(c.epochs for c in cohort) == [1, 1, 1, 1, 1, 1, 3, 3, 9]


@pytest.mark.parametrize("levels", [(12, 200), (4, 12, 36, 108), (5,), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("budget", [12, 230, 1000])
def test_without_a_size_the_whole_budget_is_one_cohort(levels, budget):
    pool, rounds = run(SuccessiveHalvingPolicy(levels, Budget(budget)))
    payable = [level for level in levels if level <= budget]
    assert len(rounds) == 1
    assert nosh_cost(payable, 1 / 3, rounds[0], ensure_top=True) == pool.spent_epochs
    assert nosh_cost(payable, 1 / 3, rounds[0] + 1, ensure_top=True) > budget


def test_brackets_by_hand():
    """η = 3, R = 9: 9 from level 1, 5 from level 2, 3 to level 3 at once; then again."""
    pool, rounds = run(HyperbandPolicy((1, 3, 9), Budget(21 + 21 + 27 + 21)))
    assert rounds == [9, 5, 3, 9]
    epochs = [[c.epochs for c in pool if c.round == n] for n in range(4)]
    assert epochs[0] == epochs[3] == [1, 1, 1, 1, 1, 1, 3, 3, 9]
    assert epochs[1] == [3, 3, 3, 3, 9]
    assert epochs[2] == [9, 9, 9]


def test_brackets_are_those_of_the_paper():
    """Li et al. 2018, table 1: R = 81, η = 3."""
    _, rounds = run(HyperbandPolicy((1, 3, 9, 27, 81), Budget(5000)))
    assert rounds[:6] == [81, 34, 15, 8, 5, 81]


def test_brackets_of_two_levels_far_apart():
    """ceil(2 / 2 * 3) = 3 from level 1, ceil(2 / 1) = 2 to level 2; 3 * 12 + 188, 2 * 200."""
    pool, rounds = run(HyperbandPolicy((12, 200), Budget(224 + 400)))
    assert rounds == [3, 2]
    assert pool.population() == [5, 3]


def test_a_budget_below_the_top_pays_for_a_smaller_pyramid():
    """32 epochs never reach 36: two levels, brackets of 3 (20 epochs) and 2, which shrinks to 1."""
    pool, rounds = run(HyperbandPolicy((4, 12, 36, 108), Budget(32)))
    assert rounds == [3, 1]
    assert [c.epochs for c in pool] == [4, 4, 12, 12]


def test_a_failed_candidate_ranks_last_and_blocks_nobody():
    """8, the best, fails at epoch 1 and 5 takes its place; 7 fails at 3 and nobody takes that."""
    pool, _ = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(21)), {8: 1, 7: 3}, workers=2)
    assert [c.epochs for c in pool][:9] == [1, 1, 1, 1, 1, 3, 9, 2, 0]
    assert [c.status for c in pool][7:9] == [Status.FAILED, Status.FAILED]
    assert pool.reached(3) == 1


def test_end_rule_lifts_a_loser_where_the_winners_failed():
    """6 and 7 fail at epoch 3: 10 spent, 8 left, too few for a newcomer but not for 5."""
    pool, rounds = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(18)), {6: 3, 7: 3})
    assert rounds == [8]
    assert [c.epochs for c in pool] == [1, 1, 1, 1, 1, 9, 2, 2]


def test_what_failures_leave_goes_to_another_cohort():
    """6, 7 and 8 fail at epoch 2: 9 spent, and 12 pay for a cohort of 4 to the top."""
    pool, rounds = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(21)), {6: 2, 7: 2, 8: 2})
    assert rounds == [9, 4]
    assert [c.epochs for c in pool][9:] == [1, 1, 1, 9]


def test_end_rule_where_the_last_one_fails_at_the_top():
    """8 fails at epoch 4, its first of level 3: the 6 left lift 7, second best at level 2."""
    pool, rounds = run(SuccessiveHalvingPolicy((1, 3, 9), Budget(21)), {8: 4})
    assert rounds == [9]
    assert pool[8].status is Status.FAILED
    assert pool[7].epochs == 9
    assert pool.spent_epochs == 21


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_pool_does_not_depend_on_the_number_of_workers(workers):
    for make in (SuccessiveHalvingPolicy, HyperbandPolicy):
        pools = [
            run_simulated(make((1, 2, 4, 8), Budget(200)), (1, 2, 4, 8), workers=n)
            for n in (1, workers)
        ]
        first, second = ([(c.text, c.epochs, c.level_accuracy) for c in pool] for pool in pools)
        assert first == second


@pytest.mark.parametrize("workers", [1, 4])
def test_under_a_wall_clock_budget_a_first_cohort_measures(workers):
    """2 s an epoch: a cohort of ten, then all that is left as one; the clock is kept and used."""
    policy = SuccessiveHalvingPolicy((1, 3, 9), Budget.parse("400s", workers=workers))
    pool = run_simulated(policy, (1, 3, 9), objective=FakeObjective(epoch_s=2.0), workers=workers)
    assert 300 <= pool.elapsed_s <= 400
    assert pool.rounds == 2
    assert sum(c.round == 0 for c in pool) == 10
    assert sum(c.round == 1 and c.level == 3 for c in pool) >= 1


def test_idle_workers_cost_wall_clock_time():
    """8 workers, 10 s an epoch: a cohort of 3 takes 10 + 20 + 60 s, as one of 8 would."""
    budget = Budget.parse("95s", workers=8)
    policy = SuccessiveHalvingPolicy((1, 3, 9), budget, cohort=100)
    pool = run_simulated(policy, (1, 3, 9), objective=FakeObjective(epoch_s=10.0), workers=8)
    assert pool.reached(3) >= 1
    assert pool.elapsed_s <= 95


def test_newcomers_that_no_time_is_left_for_do_not_bring_more():
    """A second cohort fits at the mean pace, but a newcomer might take 20 s and 13 are left."""

    class LastIsSlow(FakeObjective):
        def metrics(self, text, epoch):
            number = int(text[1:])
            return {"accuracy": 0.5 - number / 1000, "time_s": 20.0 if number == 3 else 1.0}

    policy = SuccessiveHalvingPolicy((1, 3), Budget.parse("38s"), cohort=4)
    search = Search(ToySpace(), policy, Pool((1, 3)), seed=0)
    simulate(search, LastIsSlow(), in_order)
    assert search.pool.rounds == 2
    assert [c.epochs for c in search.pool] == [3, 1, 1, 1, 0]
    assert search.finished


def test_the_space_runs_out_and_the_search_ends():
    pool = run_simulated(HyperbandPolicy((1, 2, 4), Budget(10_000)), (1, 2, 4), space=ToySpace(7))
    assert len(pool) == 7
    assert pool.exhausted


@pytest.mark.parametrize("make", [SuccessiveHalvingPolicy, HyperbandPolicy])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs_per_level": (2, 2, 4)}, "increasing"),
        ({"epochs_per_level": ()}, "increasing"),
        ({"promote_fraction": 1.0}, "promote_fraction: 1 must lie strictly between 0 and 1"),
        ({"promote_fraction": 0.0}, "between 0 and 1"),
        ({"promote_fraction": float("nan")}, "between 0 and 1"),
        ({"epochs_per_level": (60, 70)}, "50 epochs cannot train one architecture to the first"),
    ],
)
def test_bad_arguments_are_one_line(make, arguments, message):
    defaults = {"epochs_per_level": (1, 2), "budget": Budget(50)}
    with pytest.raises(ConfigError, match=message) as caught:
        make(**{**defaults, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cohort", [0, -3, 2.5])
def test_a_cohort_is_a_whole_number(cohort):
    with pytest.raises(ConfigError, match=rf"cohort: {cohort} must be a whole number, at least 1"):
        SuccessiveHalvingPolicy((1, 2), Budget(50), cohort=cohort)
