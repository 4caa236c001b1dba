"""ASHA: worked examples, several workers, and what it refuses."""

import pytest

from raynas.errors import ConfigError, TrialError
from raynas.scheduling.asha import AshaPolicy, Standings
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Newcomer, Proposed, Reported, Started
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.policy import Job
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search
from raynas.scheduling.simulate import simulate
from raynas.spaces.architecture import Architecture
from raynas.testing import FakeObjective, PolicyContract, ToySpace, run_simulated


class TestAsha(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: AshaPolicy(self.levels, budget, per_round=3)


class TestAshaOneByOne(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: AshaPolicy(self.levels, budget, per_round=1, initial=1)


class Trend(FakeObjective):
    """Each architecture is better (or worse) than the one before it; some fail at an epoch."""

    def __init__(self, step, fails_at=None):
        super().__init__()
        self.step = step
        self.fails_at = fails_at or {}

    def metrics(self, text, epoch):
        number = int(text[1:])
        if epoch >= self.fails_at.get(number, 10**6):
            raise TrialError("diverged")
        return {"accuracy": 0.5 + self.step * number / 1000}


def in_order(request, snapshot, state):
    first = len(snapshot.candidates)
    return Proposals(
        "in order", [Architecture("toy", f"a{first + n}") for n in range(request.count)]
    )


def run(policy, objective, workers=1):
    """Return the pool, and the jobs in the order in which they started."""
    jobs = []

    def emit(event, elapsed_s):
        if isinstance(event, Started):
            jobs.append((event.id, event.to_epoch))

    pool = Pool(policy.epochs_per_level)
    search = Search(ToySpace(), policy, pool, seed=0, emit=emit)
    simulate(search, objective, in_order, workers=workers)
    return pool, jobs


def asha(budget=1000, **options):
    return AshaPolicy((1, 3, 9), Budget(budget), **{"per_round": 1, "initial": 1, **options})


def test_losers_wait_until_there_is_a_place_for_them():
    """The best come first: with every third newcomer there is one more place."""
    _, jobs = run(asha(), Trend(-1))
    assert jobs[:13] == [
        *[(0, 1), (1, 1), (2, 1), (0, 3)],
        *[(3, 1), (4, 1), (5, 1), (1, 3)],
        *[(6, 1), (7, 1), (8, 1), (2, 3), (0, 9)],
    ]


def test_a_better_newcomer_is_promoted_at_once():
    """As in ASHA, and unlike NOSH: more than a third of a level then goes up."""
    _, jobs = run(asha(), Trend(+1))
    assert jobs[:12] == [
        *[(0, 1), (1, 1), (2, 1), (2, 3)],
        *[(3, 1), (3, 3), (4, 1), (4, 3), (4, 9)],
        *[(5, 1), (5, 3), (5, 9)],
    ]


def test_two_workers_promote_on_what_is_known():
    """Two at a time: 0 is promoted when three are known, while the fourth still trains."""
    _, jobs = run(asha(), Trend(-1), workers=2)
    assert jobs[:6] == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 3), (4, 1)]


@pytest.mark.parametrize("budget", [*range(7, 40), 1000])
def test_several_slots_are_filled_as_one_by_one(budget):
    """7 of 9 newcomers at level 1, for whatever budget may be left."""
    policy, pool = asha(budget), Pool((1, 3, 9))
    pool.record(Proposed(0, "test", [Newcomer(f"a{n}", f"a{n}") for n in range(9)]))
    for n in range(7):
        pool.record(Started(n, 1))
        pool.record(Reported(n, 1, {"accuracy": n / 10}))
    together = policy.next_jobs(pool, 5)
    one_by_one = []
    while jobs := policy.next_jobs(pool, 1):
        one_by_one += jobs
        pool.record(Started(jobs[0].candidate_id, jobs[0].to_epoch))
    assert together == one_by_one
    if budget == 1000:
        assert [(j.candidate_id, j.to_epoch) for j in together] == [(6, 3), (5, 3), (7, 1), (8, 1)]


def test_the_highest_level_goes_first():
    policy, pool = asha(), Pool((1, 3, 9))
    pool.record(Proposed(0, "test", [Newcomer(f"a{n}", f"a{n}") for n in range(7)]))
    for n, epochs in enumerate((3, 3, 3, 1, 1, 1)):
        pool.record(Started(n, epochs))
        for epoch in range(1, epochs + 1):
            # Trained further, but worse at epoch 1 than those that are still there.
            pool.record(Reported(n, epoch, {"accuracy": (n + epoch) / 10}))
    jobs = policy.next_jobs(pool, 9)
    assert [(job.candidate_id, job.to_epoch) for job in jobs] == [(2, 9), (5, 3), (4, 3), (6, 1)]
    assert policy.next_jobs(pool, 1) == jobs[:1]


@pytest.mark.parametrize(("elapsed_s", "wanted"), [(20.0, 4), (21.5, 0)])
def test_no_newcomer_without_time_for_its_own_way_to_the_top(elapsed_s, wanted):
    """30 s, 1 s an epoch: 8.5 s are 34 epochs of 4 workers, and yet too short for the 9 of one."""
    policy = AshaPolicy((1, 3, 9), Budget.parse("30s", workers=4), per_round=4)
    pool = Pool((1, 3, 9))
    pool.record(Proposed(0, "test", [Newcomer("a0", "a0")]))
    pool.record(Started(0, 1))
    pool.record(Reported(0, 1, {"accuracy": 0.5}, 1.0))
    pool.elapsed_s = elapsed_s
    assert policy.wants(pool) == wanted


def test_promotions_and_newcomers_share_a_gpu_budget():
    """8.5 s are left: 2 for the promotion and 6 to the top then, but not 1 for a newcomer too."""
    pool = Pool((1, 3, 9))
    pool.record(Proposed(0, "test", [Newcomer(f"a{n}", f"a{n}") for n in range(5)]))
    for n in range(3):
        pool.record(Started(n, 1))
        pool.record(Reported(n, 1, {"accuracy": n / 10}, 1.0))
    for left_s, wanted in ((8.5, [(2, 3)]), (9.5, [(2, 3), (3, 1)])):
        policy = AshaPolicy((1, 3, 9), Budget(3 + left_s, Unit.GPU_S, gpus_per_trial=1.0))
        jobs = policy.next_jobs(pool, 3)
        assert [(job.candidate_id, job.to_epoch) for job in jobs] == wanted


def test_rounds_are_as_large_as_those_of_nosh():
    nosh = NoshPolicy((1, 3, 9), Budget(500))
    pool, _ = run(AshaPolicy((1, 3, 9), Budget(500)), Trend(-1))
    sizes = [sum(c.round == number for c in pool) for number in range(pool.rounds)]
    assert sizes[:3] == [nosh.initial, nosh.per_round, nosh.per_round]


def test_a_failed_candidate_keeps_its_place_and_is_never_promoted():
    """0 fails at epoch 2: it had one of the places, so 1 waits for the next, as 0 had not."""
    pool, jobs = run(asha(), Trend(-1, {0: 2}))
    assert jobs[:8] == [(0, 1), (1, 1), (2, 1), (0, 3), (3, 1), (4, 1), (5, 1), (1, 3)]
    assert pool[0].status is Status.FAILED
    assert sum(number == 0 for number, _ in jobs) == 2


def test_end_rule_keeps_a_way_to_the_top():
    """3 newcomers and the way from 1 to 9 are 11 epochs: a fourth would be one too many."""
    pool, jobs = run(asha(budget=11), Trend(-1))
    assert jobs == [(0, 1), (1, 1), (2, 1), (0, 3), (0, 9)]
    assert pool.spent_epochs == 11


def test_end_rule_settles_for_the_highest_level_it_can_pay():
    """8 epochs never reach 9: 3 newcomers, 0 to 3, and one more whose way to 3 is paid for."""
    pool, _ = run(asha(budget=8), Trend(-1))
    assert pool.population() == [4, 1, 0]
    assert pool.spent_epochs == 6


def test_at_the_top_newcomers_need_a_way_of_their_own():
    """What is left of 100 epochs pays no newcomer's way to the top any more, and is not wasted."""
    pool, _ = run(asha(budget=100), Trend(-1))
    assert pool.reached(3) >= 3
    assert 100 - 9 < pool.spent_epochs <= 100


def test_max_pool_ends_the_search_after_the_last_promotions():
    pool, _ = run(asha(max_pool=9), Trend(-1))
    assert pool.population() == [9, 3, 1]
    assert pool.spent_epochs == 9 + 3 * 2 + 6


def test_every_newcomer_admitted_is_trained():
    for budget in range(20, 60):
        pool = run_simulated(AshaPolicy((1, 3, 9), Budget(budget), per_round=7), (1, 3, 9))
        assert not pool.num_waiting
        assert pool.reached(3)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_wall_clock_budget_is_kept_and_used(workers):
    policy = AshaPolicy((1, 3, 9), Budget.parse("300s", workers=workers), per_round=4)
    objective = FakeObjective(epoch_s=2.0)
    pool = run_simulated(policy, (1, 3, 9), objective=objective, workers=workers)
    assert 270 <= pool.elapsed_s <= 300
    assert pool.reached(3) >= 1


def test_the_space_runs_out_and_the_search_ends():
    pool = run_simulated(AshaPolicy((1, 2, 4), Budget(1000)), (1, 2, 4), space=ToySpace(7))
    assert len(pool) == 7
    assert pool.exhausted
    assert pool.reached(3) == 1


def test_standings_read_from_the_pool_what_they_did_not_hear():
    standings, pool = Standings(), Pool((1, 2))
    pool.record(Proposed(0, "test", [Newcomer(f"a{n}", f"a{n}") for n in range(4)]))
    for n, accuracy in enumerate((0.2, 0.4, 0.3, 0.1)):
        pool.record(Started(n, 1))
        pool.record(Reported(n, 1, {"accuracy": accuracy}))
        if n % 2:
            standings.hear(Job(n, f"a{n}", 0, 1))
        better = sum(c.level == 1 and c.accuracy > accuracy for c in pool)
        assert standings.rank(pool, pool[n], 1) == better


def test_standings_of_two_pools_are_kept_apart():
    standings = Standings()
    for accuracies, ranks in (((0.2, 0.4), [1, 0]), ((0.4, 0.2), [0, 1])):
        pool = Pool((1, 2))
        pool.record(Proposed(0, "test", [Newcomer("a0", "a0"), Newcomer("a1", "a1")]))
        for n, accuracy in enumerate(accuracies):
            pool.record(Started(n, 1))
            pool.record(Reported(n, 1, {"accuracy": accuracy}))
        assert [standings.rank(pool, c, 1) for c in pool] == ranks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs_per_level": (2, 2, 4)}, "increasing"),
        ({"promote_fraction": 1.0}, "between 0 and 1"),
        ({"per_round": 0}, "per_round: 0 must be a whole number, at least 1"),
        ({"initial": 1.5}, "initial: 1.5 must be a whole number"),
        ({"max_pool": 0}, "max_pool: 0 must be"),
        ({"epochs_per_level": (60, 70)}, "first level"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    defaults = {"epochs_per_level": (1, 2), "budget": Budget(50)}
    with pytest.raises(ConfigError, match=message) as caught:
        AshaPolicy(**{**defaults, **arguments})
    assert "\n" not in str(caught.value)
