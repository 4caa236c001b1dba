import pytest

from raynas.errors import ConfigError
from raynas.scheduling.budget import Budget, even_fractions, largest_pool, nosh_cost, quotas
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Proposed, Started
from raynas.scheduling.full import FullPolicy
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.testing import FakeObjective, PolicyContract, ToySpace, propose_at_random, run_simulated


class TestNoshSync(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: NoshPolicy(self.levels, budget, per_round=3)


class TestNoshAsync(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: NoshPolicy(self.levels, budget, per_round=3, mode="async")


class TestFull(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: FullPolicy(self.levels, budget, per_round=3)


@pytest.mark.parametrize(
    ("levels", "fraction", "size", "cost"),
    [  # algorithms.md §6.3, measured there
        ((12, 50, 100, 200), 0.5, 100, 5550),
        ((10, 50, 100, 200), 0.5, 100, 5450),
        ((1, 2, 4, 12), 0.5, 100, 296),
        ((2, 5, 12, 50), 0.5, 100, 981),
        ((4, 12, 36, 108), 0.5, 100, 2264),
        ((12, 50, 100, 200), 0.3, 100, 2990),
        ((12, 50, 100, 200), 0.4, 100, 4120),
        ((12, 50, 100, 200), 0.6, 100, 7380),
        ((12, 50, 100, 200), 0.7, 100, 9710),
    ],
)
def test_cost_of_the_calibrated_presets(levels, fraction, size, cost):
    assert nosh_cost(levels, fraction, size) == cost
    assert largest_pool(levels, fraction, cost) == size


def test_quotas_are_cumulative():
    assert quotas(100, 0.5, 4) == [100, 50, 25, 12]
    assert quotas(10, 0.3, 2) == [10, 3]  # 0.3 * 10 is 3.0000000000000004 - or 2.999…


def test_cost_with_the_top_ensured():
    assert nosh_cost((1, 2, 4), 0.5, 1) == 1
    assert nosh_cost((1, 2, 4), 0.5, 1, ensure_top=True) == 4


def test_worked_example_of_the_paper_notes():
    """algorithms.md §6.2: E=(1,2,4), r=.5, K0=8, K=4, M=16 spends 32 epochs."""
    policy = NoshPolicy((1, 2, 4), Budget(100), per_round=4, initial=8, max_pool=16)
    search = Search(ToySpace(), policy, Pool((1, 2, 4)), seed=0)
    seen = []
    original = search.request

    def request():
        found = original()
        if found is not None:
            pool = search.pool
            reached = [pool.reached(level) for level in (1, 2, 3)]
            seen.append((*reached, pool.spent_epochs))
        return found

    search.request = request
    from raynas.scheduling.simulate import simulate

    simulate(search, FakeObjective(), propose_at_random(search.space))
    pool = search.pool
    assert seen == [(0, 0, 0, 0), (8, 4, 2, 16), (12, 6, 3, 24)]
    assert [pool.reached(level) for level in (1, 2, 3)] == [16, 8, 4]
    assert pool.spent_epochs == 32


def test_an_old_loser_is_promoted_after_newcomers_came():
    policy = NoshPolicy((1, 2, 4), Budget(200), per_round=4, initial=8)
    search = Search(ToySpace(), policy, Pool((1, 2, 4)), seed=3)
    promoted_late = []
    start = search.start

    def spy(job):
        candidate = search.pool[job.candidate_id]
        if candidate.level and candidate.round < search.pool.rounds - 1:
            promoted_late.append(candidate.id)
        start(job)

    search.start = spy
    from raynas.scheduling.simulate import simulate

    simulate(search, FakeObjective(), propose_at_random(search.space))
    assert promoted_late


def test_promotion_depends_only_on_accuracy_at_that_level():
    policy = NoshPolicy((1, 2, 4), Budget(100), per_round=4, initial=4)
    pool = run_simulated(policy, (1, 2, 4), seed=1)
    for level in (1, 2):
        stayed = [c for c in pool if c.level == level]
        rose = [c for c in pool if c.level > level]
        if stayed and rose and len({c.round for c in pool}) == 1:
            best = max(c.level_accuracy[level - 1] for c in stayed)
            assert best <= min(c.level_accuracy[level - 1] for c in rose)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_quotas_hold_at_the_end_in_both_modes(mode, workers):
    policy = NoshPolicy((1, 2, 4, 8), Budget(200), per_round=10, mode=mode)
    pool = run_simulated(policy, (1, 2, 4, 8), workers=workers)
    reached = [pool.reached(level) for level in (1, 2, 3, 4)]
    assert reached == quotas(reached[0], 0.5, 4)
    assert pool.spent_epochs <= 200


def test_sync_pool_does_not_depend_on_the_number_of_workers():
    def pool(workers):
        policy = NoshPolicy((1, 2, 4), Budget(80), per_round=5)
        found = run_simulated(policy, (1, 2, 4), workers=workers)
        return [(c.text, c.level, c.epochs, c.level_accuracy) for c in found]

    assert pool(1) == pool(2) == pool(7)


def test_ensure_top_lifts_the_best_chain_when_the_quota_lifts_none():
    policy = NoshPolicy((1, 2, 4), Budget(6), per_round=10)
    pool = run_simulated(policy, (1, 2, 4))
    assert pool.reached(3) == 1
    assert pool.spent_epochs <= 6


def test_a_budget_below_the_top_is_spent_on_the_lower_levels():
    pool = run_simulated(NoshPolicy((1, 2, 8), Budget(5), per_round=10), (1, 2, 8))
    assert pool.reached(1) == 3
    assert pool.reached(2) == 1
    assert pool.reached(3) == 0


def test_failed_candidates_are_replaced_and_never_promoted():
    failing = [f"a{i}" for i in range(0, 1000, 3)]
    policy = NoshPolicy((1, 2, 4), Budget(100), per_round=6)
    pool = run_simulated(policy, (1, 2, 4), objective=FakeObjective(failing))
    failed = [c for c in pool if c.status is Status.FAILED]
    assert failed
    assert all(c.level == 0 and c.error and "made to fail" in c.error for c in failed)
    reached = [pool.reached(level) for level in (1, 2, 3)]
    assert reached == quotas(reached[0], 0.5, 3)


def test_the_space_runs_out_and_the_search_ends():
    space = ToySpace(7)
    policy = NoshPolicy((1, 2, 4), Budget(1000), per_round=4)
    pool = run_simulated(policy, (1, 2, 4), space=space)
    assert len(pool) == 7
    assert pool.exhausted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs_per_level": (2, 2, 4)}, "increasing"),
        ({"epochs_per_level": ()}, "increasing"),
        ({"epochs_per_level": (0, 2)}, "at least 1"),
        ({"promote_fraction": 1.0}, "between 0 and 1"),
        ({"promote_fraction": 0.0}, "between 0 and 1"),
        ({"per_round": 0}, "at least 1"),
        ({"mode": "later"}, "'sync' or 'async'"),
        ({"epochs_per_level": (60, 70)}, "first level"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    defaults = {"epochs_per_level": (1, 2), "budget": Budget(50)}
    with pytest.raises(ConfigError, match=message) as caught:
        NoshPolicy(**{**defaults, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("levels", "fractions"),
    [
        ((1, 2, 4, 8), (0.5, 0.5, 0.5)),
        ((4, 12, 36, 108), (0.5, 0.5, 0.5)),
        ((12, 200), (12 / 188,)),
        ((12, 50, 100, 200), (12 / 38, 0.5, 0.5)),
        ((7,), ()),
    ],
)
def test_promotions_cost_by_default_what_those_promoted_from_had_cost(levels, fractions):
    assert even_fractions(levels) == pytest.approx(fractions)
    assert NoshPolicy(levels, Budget(500)).promote_fraction == pytest.approx(fractions)


@pytest.mark.parametrize(
    ("given", "words"), [((0.5, 0.5, 0.5), "2 for 3 levels"), ((0.5, 1.5), "between 0 and 1")]
)
def test_one_share_a_level(given, words):
    with pytest.raises(ConfigError, match=words):
        NoshPolicy((1, 2, 4), Budget(50), promote_fraction=given)
    policy = NoshPolicy((1, 2, 4), Budget(50), promote_fraction=(0.6, 0.3))
    assert policy.promote_fraction == (0.6, 0.3)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_last_place_waits_for_the_last_newcomer(mode):
    """Levels of 2 and 20 epochs, 66 epochs: 15 newcomers, and one of them to the top."""
    options = {"promote_fraction": 0.1, "per_round": 5, "initial": 5, "mode": mode}
    events = []

    def promoted_after(hold):
        events.clear()
        policy = NoshPolicy((2, 20), Budget(66), hold_last=hold, **options)
        search = Search(
            ToySpace(), policy, Pool((2, 20)), seed=0, emit=lambda event, _: events.append(event)
        )
        simulate(search, FakeObjective(), propose_at_random(search.space))
        starts = [i for i, e in enumerate(events) if isinstance(e, Started) and e.to_epoch == 20]
        arrivals = [i for i, e in enumerate(events) if isinstance(e, Proposed) and e.admitted]
        best = search.pool.best()
        assert search.pool.spent_epochs <= 66
        assert search.pool.reached(2) == 1
        first = {c.id: c.level_accuracy[0] for c in search.pool}
        return starts[0] > arrivals[-1], first[best.id] == max(first.values())

    late, best_of_all = promoted_after(hold=True)
    assert late
    assert best_of_all
    assert not promoted_after(hold=False)[0]
