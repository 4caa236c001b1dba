"""What a budget can still pay for: goals, jobs that fit, and the last lift."""

import pytest

from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.events import Failed, Newcomer, Proposed, Reported, Started
from raynas.scheduling.ladder import Ladder
from raynas.scheduling.policy import Job
from raynas.scheduling.pool import Pool

LEVELS = (1, 3, 9)


def filled(*trained, elapsed_s=0.0):
    """A pool of one candidate per (epochs, seconds an epoch); earlier ones are better."""
    pool = Pool(LEVELS)
    newcomers = [Newcomer(f"a{n}", f"a{n}") for n in range(len(trained))]
    pool.record(Proposed(0, "test", newcomers))
    for number, (epochs, seconds) in enumerate(trained):
        if epochs:
            train(pool, number, epochs, seconds)
    pool.elapsed_s = elapsed_s
    return pool


def train(pool, number, to_epoch, seconds=1.0, *, start=True):
    if start:
        pool.record(Started(number, to_epoch))
    for epoch in range(pool[number].epochs + 1, to_epoch + 1):
        pool.record(Reported(number, epoch, {"accuracy": 0.9 - number / 100}, seconds))


def jobs(pool, *wanted):
    return [Job.of(pool[number], to_epoch) for number, to_epoch in wanted]


def test_highest_counts_those_at_rest_in_flight_and_done_but_not_the_failed():
    pool = filled((1, 1.0), (1, 1.0), (0, 0.0))
    ladder = Ladder(LEVELS, Budget(100))
    assert ladder.highest(Pool(LEVELS)) == 0
    assert ladder.highest(pool) == 1
    pool.record(Started(0, 3))
    assert ladder.highest(pool) == 2
    train(pool, 0, 3, start=False)
    pool.record(Started(0, 9))
    assert ladder.highest(pool) == 3
    pool.record(Failed(0, "diverged"))
    assert ladder.highest(pool) == 1
    train(pool, 1, 9)
    assert ladder.highest(pool) == 3


@pytest.mark.parametrize(("budget", "goal"), [(2, 1), (3, 1), (4, 2), (9, 2), (10, 3), (100, 3)])
def test_goal_is_what_the_rest_lifts_the_highest_to(budget, goal):
    """Two at level 1 for 2 epochs: 2 more lift one to level 2, 8 to level 3."""
    assert Ladder(LEVELS, Budget(budget)).goal(filled((1, 1.0), (1, 1.0))) == goal


def test_goal_of_an_empty_pool_is_a_newcomers():
    goals = [Ladder(LEVELS, Budget(limit)).goal(Pool(LEVELS)) for limit in (1, 2, 3, 8, 9)]
    assert goals == [1, 1, 2, 2, 3]


def test_goal_leaves_what_is_promised_and_stops_at_the_top_given():
    pool, ladder = filled((1, 1.0), (1, 1.0)), Ladder(LEVELS, Budget(10))
    assert ladder.goal(pool, promised=1) == 2
    assert ladder.goal(pool, promised=7) == 1
    assert ladder.goal(pool, top=2) == 2


def test_goal_counts_from_where_a_job_in_flight_leads():
    pool = filled((1, 1.0), (0, 0.0))
    pool.record(Started(0, 3))
    assert Ladder(LEVELS, Budget(8)).goal(pool) == 2
    assert Ladder(LEVELS, Budget(9)).goal(pool) == 3


def test_jobs_fit_together_with_one_way_to_the_goal():
    """11 left: 1 + 1 + 1 for the newcomers and 8 from level 1 to the top; not one more."""
    pool = filled(*[(0, 0.0)] * 5)
    ladder = Ladder(LEVELS, Budget(11))
    wanted = jobs(pool, *[(n, 1) for n in range(5)])
    assert ladder.fitting(pool, wanted, 3, slots=9) == wanted[:3]
    assert ladder.fitting(pool, wanted, 3, slots=2) == wanted[:2]
    assert ladder.fitting(pool, wanted, 3, slots=0) == []
    assert ladder.fitting(pool, wanted, 3, slots=9, promised=2) == wanted[:1]
    assert ladder.fitting(pool, wanted, 3, slots=9, way_from=3) == wanted[:5]


def test_a_job_that_does_not_fit_is_passed_over():
    pool = filled((3, 1.0), (1, 1.0))
    ladder = Ladder(LEVELS, Budget(4 + 5))
    wanted = jobs(pool, (0, 9), (1, 3))
    assert ladder.fitting(pool, wanted, 2, slots=2) == wanted[1:]


def test_jobs_side_by_side_take_no_longer_than_one():
    pool = filled(*[(1, 1.0)] * 4, elapsed_s=4.0)
    wanted = jobs(pool, *[(n, 3) for n in range(4)])
    wall = Ladder(LEVELS, Budget(12.5, Unit.WALL_S, workers=4))
    assert wall.fitting(pool, wanted, 3, slots=4, promised=50) == wanted
    gpus = Ladder(LEVELS, Budget(16.5, Unit.GPU_S, workers=4, gpus_per_trial=1.0))
    assert gpus.fitting(pool, wanted, 3, slots=4) == wanted[:3]


@pytest.mark.parametrize("limit", [7.5, 8.5])
def test_the_end_of_a_running_job_takes_time_before_the_way_up(limit):
    """One at epoch 1 of 3, at 1 s: the top is 8 epochs away and not 6."""
    pool = filled((1, 1.0), elapsed_s=0.0)
    pool.record(Started(0, 3))
    ladder = Ladder(LEVELS, Budget(limit, Unit.WALL_S))
    assert ladder.goal(pool) == (3 if limit > 8 else 2)


def test_a_running_job_goes_at_its_own_pace():
    """The one heading for level 2 takes 2 s an epoch: 16 s to the top, whatever others take."""
    pool = filled((1, 2.0), (1, 1.0))
    pool.record(Started(0, 3))
    goals = [Ladder(LEVELS, Budget(s, Unit.WALL_S, workers=2)).goal(pool) for s in (15.0, 17.0)]
    assert goals == [2, 3]


def test_jobs_count_on_the_way_of_those_before_them():
    """6 + 2 left: one job leads to the top, so that the next needs nothing held back."""
    pool = filled((3, 1.0), (1, 1.0))
    wanted = jobs(pool, (0, 9), (1, 3))
    assert Ladder(LEVELS, Budget(4 + 8)).fitting(pool, wanted, 3, slots=2) == wanted
    assert Ladder(LEVELS, Budget(4 + 7)).fitting(pool, wanted, 3, slots=2) == wanted[:1]


def test_one_slow_candidate_keeps_no_newcomer_from_starting():
    """1 and 9 s an epoch: a newcomer may take 9 s, and 8 more epochs for anybody 8 * 5 s."""
    pool = filled((1, 1.0), (1, 9.0), (0, 0.0), elapsed_s=10.0)
    wanted = jobs(pool, (2, 1))
    for limit, fits in ((10 + 55.0, True), (10 + 53.0, False)):
        ladder = Ladder(LEVELS, Budget(limit, Unit.WALL_S))
        assert ladder.fitting(pool, wanted, 3, slots=1) == (wanted if fits else [])


def test_lift_is_the_best_of_the_highest_level_one_level_up():
    pool = filled((3, 1.0), (3, 1.0), (1, 1.0))
    ladder = Ladder(LEVELS, Budget(13))
    assert ladder.lift(pool, 3, slots=4) == jobs(pool, (0, 9))
    assert ladder.lift(pool, 3, slots=0) == []
    assert ladder.lift(pool, 2, slots=4) == []
    assert ladder.lift(Pool(LEVELS), 3, slots=4) == []


def test_lift_takes_the_next_best_where_the_best_is_too_slow():
    """10 s left: the best needs 6 epochs of 2 s, the second 6 of 1 s."""
    pool = filled((3, 2.0), (3, 1.0), elapsed_s=20.0)
    ladder = Ladder(LEVELS, Budget(30.0, Unit.WALL_S))
    assert ladder.goal(pool) == 3
    assert ladder.lift(pool, 3, slots=1) == jobs(pool, (1, 9))


def test_where_all_have_failed_a_newcomers_way_counts():
    pool = filled((0, 0.0))
    pool.record(Started(0, 1))
    pool.record(Failed(0, "diverged"))
    assert Ladder(LEVELS, Budget(8)).goal(pool) == 2
    assert Ladder(LEVELS, Budget(9)).goal(pool) == 3


def test_a_newcomers_way_takes_one_worker_all_the_time():
    """1 s an epoch, 2 workers: 8.5 s are 17 epochs, and yet too short for the 9 of one way."""
    pool = filled((1, 1.0), elapsed_s=1.0)
    pool.record(Started(0, 3))
    pool.record(Failed(0, "diverged"))
    goals = [Ladder(LEVELS, Budget(s, Unit.WALL_S, workers=2)).goal(pool) for s in (9.5, 10.5)]
    assert goals == [2, 3]
