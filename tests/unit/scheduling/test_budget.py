import pytest

from raynas.errors import ConfigError
from raynas.scheduling.budget import Budget, Unit, largest_pool, nosh_cost
from raynas.scheduling.events import Newcomer, Proposed
from raynas.scheduling.full import FullPolicy
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.testing import FakeObjective, run_simulated


@pytest.mark.parametrize(
    ("text", "limit", "unit"),
    [
        ("300", 300, Unit.EPOCHS),
        (300, 300, Unit.EPOCHS),
        ("90m", 5400, Unit.WALL_S),
        ("6h", 21600, Unit.WALL_S),
        ("45s", 45, Unit.WALL_S),
        ("1.5h", 5400, Unit.WALL_S),
        ("1d", 86400, Unit.WALL_S),
    ],
)
def test_reads_what_people_write(text, limit, unit):
    budget = Budget.parse(text)
    assert (budget.limit, budget.unit) == (limit, unit)


def test_gpu_hours_need_a_gpu():
    assert Budget.parse("12gpuh", gpus_per_trial=0.5).limit == 12 * 3600
    with pytest.raises(ConfigError, match=r"resources\.gpus"):
        Budget.parse("12gpuh")


@pytest.mark.parametrize("text", ["0", "-3", "", "ten", "3x", "1.5", "nan", "inf", "6 hours", "0h"])
def test_refuses_nonsense_in_one_line(text):
    with pytest.raises(ConfigError, match="budget") as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", [1, 2, 7, 50, 199, 200, 201, 1000])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.7])
def test_largest_pool_is_the_largest(budget, fraction):
    levels = (1, 2, 4, 8)
    size = largest_pool(levels, fraction, budget)
    assert size == 0 or nosh_cost(levels, fraction, size, ensure_top=True) <= budget
    assert nosh_cost(levels, fraction, size + 1, ensure_top=True) > budget


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_wall_clock_budget_is_not_overspent(workers, mode):
    """Simulated epochs of 2 s: the clock never passes the limit."""
    budget = Budget.parse("100s", workers=workers)
    policy = NoshPolicy((1, 2, 4), budget, per_round=4, mode=mode)
    pool = run_simulated(policy, (1, 2, 4), objective=FakeObjective(epoch_s=2.0), workers=workers)
    assert pool.elapsed_s <= 100
    assert pool.spent_epochs >= 0.5 * workers * 50  # and it is used


def test_a_gpu_budget_counts_all_workers():
    budget = Budget(120.0, Unit.GPU_S, workers=4, gpus_per_trial=0.5)
    policy = NoshPolicy((1, 2, 4), budget, per_round=4)
    pool = run_simulated(policy, (1, 2, 4), objective=FakeObjective(epoch_s=3.0), workers=4)
    assert pool.time_s * 0.5 <= 120
    assert pool.time_s * 0.5 >= 60


def test_before_anything_is_measured_a_time_budget_has_no_bound():
    budget = Budget.parse("6h")
    assert budget.epochs_left(Pool((1, 2))) > 10**6


def test_nothing_is_left_when_the_clock_has_run_out():
    pool = Pool((1, 2))
    pool.elapsed_s = 21601.0
    assert Budget.parse("6h").epochs_left(pool) == 0


def test_jobs_offered_together_share_a_gpu_budget():
    budget = Budget.parse("0.01gpuh", workers=4, gpus_per_trial=1.0)  # 36 s
    policy = FullPolicy((1, 4), budget, per_round=8)
    pool = run_simulated(policy, (1, 4), objective=FakeObjective(epoch_s=2.0), workers=4)
    assert pool.time_s <= 36
    first = [c for c in pool if c.round == 0]
    newcomers = Pool((1, 4))
    newcomers.record(Proposed(0, "random", [Newcomer(c.text, c.key, {}) for c in first]))
    newcomers.time_s, newcomers.spent_epochs, newcomers.slowest_epoch_s = 6.0, 3, 2.0
    wanted = [(c, 4) for c in newcomers]
    assert budget.num_affordable(newcomers, wanted) == 3  # 3 x 4 x 2 s of the 30 s left
    wall = Budget.parse("36s", workers=4)
    assert wall.num_affordable(newcomers, wanted) == len(wanted)
