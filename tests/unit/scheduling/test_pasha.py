"""PASHA: when the ladder grows, how noise is told from change, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import ConfigError
from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.events import Newcomer, Proposed, Reported, Started
from raynas.scheduling.pasha import PashaPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.soft_ranking import CurvesThatCross, GrowingPercentile
from raynas.testing import FakeObjective, PolicyContract, run_simulated

LEVELS = (1, 2, 4, 8)


class TestPasha(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: PashaPolicy(self.levels, budget, per_round=3)


class TestPashaWithEpsilon(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: PashaPolicy(self.levels, budget, per_round=3, epsilon=0.02)


class Ranked(FakeObjective):
    """Architectures ranked by their number; at each epoch of `turns` the ranking turns round."""

    def __init__(self, *turns):
        super().__init__()
        self.turns = turns

    def metrics(self, text, epoch):
        sign = (-1) ** sum(turn <= epoch for turn in self.turns)
        return {"accuracy": 0.5 + sign * int(text[1:]) / 2500}


def run(objective, policy=PashaPolicy, **options):
    policy = policy(LEVELS, Budget(1000), **{"max_pool": 40, **options})
    return run_simulated(policy, LEVELS, objective=objective)


def test_a_ranking_that_holds_keeps_the_ladder_short():
    pool = run(Ranked())
    assert pool.population()[2:] == [0, 0]
    assert pool.reached(2) >= 13
    assert run(Ranked(), AshaPolicy).reached(4) >= 1
    best = max((c for c in pool if c.level == 2), key=lambda c: c.accuracy)
    assert pool.best() == best


@pytest.mark.parametrize(
    ("turns", "top"),
    [
        ((2,), 3),  # seen at level 2, and at level 3 it holds
        ((3,), 2),  # levels 1 and 2 agree: the ladder never gets so far
        ((2, 3), 4),
        ((2, 3, 5), 4),
    ],
)
def test_the_ladder_grows_while_longer_training_changes_the_ranking(turns, top):
    pool = run(Ranked(*turns), epsilon=0)
    assert [count > 0 for count in pool.population()] == [level < top for level in range(4)]


def filled(accuracies, levels):
    """A pool of one candidate per row of accuracies, trained to the row's last epoch."""
    pool = Pool(levels)
    newcomers = [Newcomer(f"a{n}", f"a{n}") for n in range(len(accuracies))]
    pool.record(Proposed(0, "test", newcomers))
    for n, row in enumerate(accuracies):
        pool.record(Started(n, len(row)))
        for epoch, accuracy in enumerate(row, start=1):
            pool.record(Reported(n, epoch, {"accuracy": accuracy}))
    return pool


def ladder(accuracies, levels=(1, 2, 4), epsilon=None):
    """Return the level that the best candidate at rest may be promoted to, 0 if to none."""
    policy = PashaPolicy(
        levels, Budget(1000), promote_fraction=0.99, max_pool=len(accuracies), epsilon=epsilon
    )
    pool = filled(accuracies, levels)
    jobs = policy.next_jobs(pool, 1)
    return pool.level_of(jobs[0].to_epoch) if jobs else 0


def test_rankings_that_agree_open_no_level():
    assert ladder([[0.1, 0.2], [0.2, 0.3], [0.3, 0.4]]) == 0


def test_ladders_of_two_pools_are_kept_apart():
    policy = PashaPolicy((1, 2, 4), Budget(1000))
    assert policy._top(filled([[0.1, 0.2], [0.2, 0.3]], (1, 2, 4))) == 2
    assert policy._top(filled([[0.1, 0.3], [0.2, 0.2]], (1, 2, 4))) == 3


def test_rankings_that_differ_open_a_level():
    assert ladder([[0.1, 0.2], [0.2, 0.4], [0.3, 0.3]]) == 3


def test_a_swap_within_epsilon_is_no_difference():
    """1 and 2 swap places; at level 1 they are 0.1 apart."""
    swapped = [[0.1, 0.2], [0.2, 0.4], [0.3, 0.3]]
    assert ladder(swapped, epsilon=0.11) == 0
    assert ladder(swapped, epsilon=0.09) == 3


def test_epsilon_is_reckoned_at_the_level_below():
    """Far apart at level 2, but 0.01 apart at level 1 where they swap."""
    assert ladder([[0.30, 0.9], [0.31, 0.1]], epsilon=0.02) == 0
    assert ladder([[0.30, 0.31], [0.90, 0.30]], epsilon=0.02) == 3


def test_only_those_that_reached_the_top_are_compared():
    """The worst of three at level 1, but nobody beside it came as far: no change of ranking."""
    policy = PashaPolicy((1, 2, 4), Budget(1000), promote_fraction=0.99, max_pool=3)
    jobs = policy.next_jobs(filled([[0.1, 0.9], [0.2], [0.3]], (1, 2, 4)), 3)
    assert [(job.candidate_id, job.to_epoch) for job in jobs] == [(2, 2), (1, 2)]


def test_the_ladder_does_not_shrink_under_a_job():
    """The noise of two others makes the rankings agree, but 0 has set out for the third level."""
    levels, swapped = (3, 4, 9), [[0.1, 0.1, 0.21, 0.30], [0.2, 0.2, 0.30, 0.21]]
    noisy = [[0.5, 0.4, 0.5, 0.6], [0.4, 0.5, 0.4, 0.4]]
    policy = PashaPolicy(levels, Budget(1000))
    pool = filled([*swapped, *noisy], levels)
    assert policy._top(pool) == 2
    pool.record(Started(0, 9))
    assert policy._top(pool) == 3


def test_epsilon_is_estimated_from_curves_that_crossed_and_crossed_back():
    """Levels 3 and 4: two curves criss-cross and end 0.2 apart, so a swap by 0.1 is noise."""
    noisy = [[0.5, 0.4, 0.5, 0.6], [0.4, 0.5, 0.4, 0.4]]
    swap = [[0.1, 0.1, 0.21, 0.30], [0.2, 0.2, 0.30, 0.21]]
    assert ladder([*noisy, *swap], levels=(3, 4, 9)) == 0
    steady = [[0.6, 0.6, 0.5, 0.6], [0.4, 0.4, 0.4, 0.4]]
    assert ladder([*steady, *swap], levels=(3, 4, 9)) == 3


def test_where_the_top_shows_no_noise_the_level_below_tells():
    """At level 2 (3 epochs) two curves criss-crossed; at level 3 only two others arrived."""
    noisy = [[0.5, 0.3, 0.5], [0.4, 0.4, 0.3]]
    swap = [[0.1, 0.1, 0.21, 0.30], [0.2, 0.2, 0.30, 0.21]]
    policy = PashaPolicy((1, 3, 4, 9), Budget(1000), promote_fraction=0.5, max_pool=4)
    assert policy._top(filled([*noisy, *swap], (1, 3, 4, 9))) == 3
    assert policy._top(filled([*noisy[:1], *swap], (1, 3, 4, 9))) == 4


@pytest.mark.parametrize(
    ("curves", "distances"),
    [
        ([[0.5, 0.3, 0.6], [0.4, 0.4, 0.5]], [0.1]),
        ([[0.4, 0.4, 0.5], [0.5, 0.3, 0.6]], [0.1]),
        ([[0.3, 0.6], [0.4, 0.5]], []),  # crossed once
        ([[0.3, 0.3, 0.6], [0.4, 0.4, 0.5]], []),
        ([[0.5, 0.5, 0.6], [0.4, 0.4, 0.5]], []),
        ([[0.5, 0.4, 0.6], [0.4, 0.4, 0.5]], []),  # met, not crossed
        ([[0.5, 0.3, 0.5], [0.4, 0.4, 0.5]], []),  # nobody is better at the end
        ([[0.5, 0.3, 0.3, 0.6], [0.4, 0.4, 0.3, 0.5]], [0.1]),
        ([[0.5, 0.3, 0.6]], []),
    ],
)
def test_distances_of_curves_that_crossed_and_crossed_back(curves, distances):
    known = CurvesThatCross(len(curves[0]))
    for curve in curves:
        known.add(curve)
    assert known.percentile(50) == (pytest.approx(distances[0]) if distances else None)


BATCHES = st.lists(st.lists(st.integers(0, 12) | st.floats(0, 1), max_size=9), max_size=25)


@given(BATCHES, st.sampled_from([0, 10, 50, 90, 99, 100]), st.sampled_from([0, 0.5, 3]))
def test_a_growing_percentile_is_numpys(batches, percent, reach):
    growing, numbers = GrowingPercentile(), []
    growing._ALL, growing._REACH = 1, reach  # so that few numbers are many
    assert growing.percentile(percent) is None
    for batch in batches:
        growing.add(np.array(batch, dtype=float))
        numbers += batch
        if numbers:
            assert growing.percentile(percent) == np.percentile(numbers, percent)


def test_the_window_of_a_percentile_stays_small():
    rng, growing = np.random.default_rng(0), GrowingPercentile()
    largest = 0
    for _ in range(2000):
        growing.add(rng.random(40))
        growing.percentile(90)
        largest = max(largest, len(growing._window))
    assert growing._size == 80_000
    assert largest <= 4000


@pytest.mark.parametrize("levels", [(3,), (3, 5)])
def test_one_or_two_levels_are_a_whole_ladder(levels):
    policy = PashaPolicy(levels, Budget(100), per_round=4)
    pool = run_simulated(policy, levels)
    same = run_simulated(AshaPolicy(levels, Budget(100), per_round=4), levels)
    assert [c.epochs for c in pool] == [c.epochs for c in same]


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_epsilon_is_an_accuracy(epsilon):
    with pytest.raises(ConfigError, match=r"epsilon: .* must be an accuracy") as caught:
        PashaPolicy((1, 2), Budget(10), epsilon=epsilon)
    assert "\n" not in str(caught.value)
