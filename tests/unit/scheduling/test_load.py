"""Large pools: short cuts decide as the plain versions do, and a step does not read the pool."""

import itertools
import math
import sys

import numpy as np
import pytest

from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.front import FrontOrder, pool_front
from raynas.scheduling.full import FullPolicy
from raynas.scheduling.halving import SuccessiveHalvingPolicy
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pareto import best_first, fronts
from raynas.scheduling.pasha import PashaPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search, replay
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot, ScoredRecord
from raynas.spaces.architecture import Architecture
from raynas.testing import ToySpace

LEVELS = (1, 2, 4, 8)
COSTS = ("latency_ms", "flops")


# -- the plain versions: everything read from the pool, every time ---------------------------------


class PlainPool(Pool):
    def best(self):
        for level in range(self.num_levels, 0, -1):
            found = [c for c in self if c.level == level and c.level_accuracy]
            if found:
                return min(found, key=lambda c: c.rank_key(level))
        return None

    def round_of(self, candidate):
        return [c for c in self if c.round == candidate.round]

    def first_waiting(self, count=None):
        return iter(self.waiting if count is None else self.waiting[:count])

    def resting(self, level):
        return iter(
            sorted(
                (c for c in self if c.level == level and c.status is Status.PAUSED),
                key=lambda c: c.rank_key(level),
            )
        )

    def best_resting(self, level, count):
        return list(self.resting(level))[:count]

    def snapshot(self):
        return PoolSnapshot(
            round=self.rounds,
            epochs_per_level=self.epochs_per_level,
            candidates=tuple(
                PoolRecord(
                    *(c.id, c.text, c.key, c.level, tuple(c.level_accuracy), c.proxies),
                    failed=c.status is Status.FAILED,
                    costs=c.costs,
                )
                for c in self
            ),
            scored=tuple(
                ScoredRecord(s.text, s.key, s.proxies, s.costs) for s in self.scored.values()
            ),
        )


class PlainFrontOrder(FrontOrder):
    def best_resting(self, pool, level, count):
        members = [c for c in pool if c.level >= level and c.status is not Status.FAILED]
        members.sort(key=lambda c: c.rank_key(level))
        rows = [[c.level_accuracy[level - 1], *(-c.costs[n] for n in self._costs)] for c in members]
        order = best_first(np.array(rows).reshape(len(rows), 1 + len(self._costs)))
        ranked = [members[i] for i in order]
        return [c for c in ranked if c.level == level and c.status is Status.PAUSED][:count]


class PlainHalving(SuccessiveHalvingPolicy):
    def _winners(self, pool, level):
        cohort = pool.round_of(pool[len(pool) - 1])
        places = self._places(len(cohort), level + 1)[-1]
        finishers = sorted((c for c in cohort if c.level >= level), key=lambda c: c.rank_key(level))
        return iter([c for c in finishers[:places] if c.level == level])


class PlainPasha(PashaPolicy):
    """The ranking read from the pool each time, the noise from all pairs of curves."""

    def _rankings_agree(self, pool, top):
        upper = sorted((c for c in pool if c.level >= top), key=lambda c: c.rank_key(top))
        lower = sorted(upper, key=lambda c: c.rank_key(top - 1))
        pairs = zip(upper, lower, strict=True)
        gaps = [abs(a.level_accuracy[top - 2] - b.level_accuracy[top - 2]) for a, b in pairs]
        return max(gaps, default=0) <= self._noise(pool, top)

    def _noise(self, pool, top):
        if self.epsilon is not None:
            return self.epsilon
        for level in range(top, 1, -1):
            last = self.epochs_per_level[level - 1]
            curves = [c.metrics for c in pool if c.level >= level]
            common = [e for e in range(1, last + 1) if all(e in curve for curve in curves)]
            distances = []
            for one, other in itertools.combinations(curves, 2):
                gap = [one[e]["accuracy"] - other[e]["accuracy"] for e in common]
                turned = [e for e in range(len(gap)) if gap[e] * gap[-1] < 0]
                if turned and any(gap[e] * gap[-1] > 0 for e in range(turned[-1])):
                    distances.append(abs(gap[-1]))
            if distances:
                return np.percentile(distances, 90)
        return 0


def plainly(policy):
    if isinstance(policy, PashaPolicy):
        policy.__class__ = PlainPasha
    if isinstance(policy, NoshPolicy) and policy._by_front is not None:
        policy._by_front = PlainFrontOrder(policy._by_front._costs)
    if isinstance(policy, SuccessiveHalvingPolicy):
        policy.__class__ = PlainHalving
    return policy


MAKE = {
    "nosh": lambda b: NoshPolicy(LEVELS, b),
    "nosh async": lambda b: NoshPolicy(LEVELS, b, mode="async", per_round=3),
    "front": lambda b: NoshPolicy(LEVELS, b, costs=COSTS[:1], initial=30),
    "front async": lambda b: NoshPolicy(LEVELS, b, costs=COSTS, mode="async"),
    "asha": lambda b: AshaPolicy(LEVELS, b),
    "pasha": lambda b: PashaPolicy((1, 4, 5, 6, 7, 8), b, promote_fraction=0.6),
    "pasha, epsilon": lambda b: PashaPolicy(LEVELS, b, epsilon=0.6, promote_fraction=0.5),
    "halving": lambda b: SuccessiveHalvingPolicy(LEVELS, b, cohort=40),
    "one cohort": lambda b: SuccessiveHalvingPolicy(LEVELS, b),
    "full": lambda b: FullPolicy(LEVELS, b),
}


class Driver:
    """A hostile engine: failures, lost workers, proposals already known; draws of its own seed."""

    def __init__(self, search, seed, hostile=True, grid=6):
        self.search, self.rng, self.hostile, self.grid = (
            search,
            np.random.default_rng(seed),
            hostile,
            grid,
        )
        self.said = []

    def number(self):
        """Few values, so that ties are common; or any."""
        return float(self.rng.integers(self.grid)) / self.grid if self.grid else self.rng.random()

    def step(self, slots=3):
        search = self.search
        for job in search.next_jobs(slots - search.pool.num_running):
            self.said.append(job)
            search.start(job)
        if search.pool.num_running < slots and (request := search.request()):
            self.said.append(request)
            numbers = len(search.pool) + np.arange(request.count)
            found = [Architecture("toy", f"a{n}") for n in numbers]
            costs = {a.text: {name: self.number() for name in COSTS} for a in found}
            search.admit(request, Proposals("made up", found, costs=costs))
            return True
        if not (running := search.pool.running):
            return False
        candidate = running[int(self.rng.integers(len(running)))]
        fate = self.rng.random() if self.hostile else 1.0
        if fate < 0.04:
            search.fail(candidate.id, "diverged")
        elif fate < 0.08:
            search.interrupt(candidate.id)
        elif fate < 0.1:
            search.interrupt(candidate.id, owed=False)
        else:
            loss = math.nan if self.hostile and fate < 0.2 else self.number()
            metrics = {"accuracy": self.number(), "loss": loss}
            search.report(candidate.id, search.next_report(candidate), metrics, 0.5)
        return True


def new_search(policy, pool, emit=lambda event, elapsed_s: None):
    return Search(ToySpace(10**6), policy, pool, seed=0, emit=emit)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", MAKE)
def test_decides_as_the_plain_version_does(name, seed):
    budget = Budget(250)
    policies = MAKE[name](budget), plainly(MAKE[name](budget))
    levels = policies[0].epochs_per_level
    quick = Driver(new_search(policies[0], Pool(levels)), seed)
    plain = Driver(new_search(policies[1], PlainPool(levels)), seed)
    for _ in range(3000):
        more = quick.step()
        assert plain.step() == more
        one, other = quick.search.pool, plain.search.pool
        assert getattr(one.best(), "id", None) == getattr(other.best(), "id", None)
        if not more:
            break
    else:
        raise AssertionError("the search does not end")
    assert quick.said == plain.said
    assert len(one) > 20
    assert one.snapshot() == other.snapshot()
    for candidate in one:
        assert one.round_of(candidate) == [c for c in one if c.round == candidate.round]
    for level in range(1, len(levels) + 1):
        failed = [c for c in one if c.level >= level and c.status is Status.FAILED]
        assert one.failed_after(level) == len(failed)
        assert sorted(one.reached_ids(level)) == [c.id for c in one if c.level >= level]


def test_the_front_of_a_pool_is_that_of_the_definition():
    driver = Driver(new_search(MAKE["front async"](Budget(150)), Pool(LEVELS)), 0)
    while driver.step():
        pool = driver.search.pool
        best = pool.best()
        members = [c for c in pool if best and c.level == best.level]
        members.sort(key=lambda c: c.rank_key(best.level))
        values = [[c.accuracy, *(-c.costs[n] for n in COSTS)] for c in members]
        expected = [members[i] for i in next(fronts(np.array(values)))] if members else []
        assert pool_front(pool, COSTS) == expected


def test_a_resume_goes_on_with_the_same_fronts():
    """What is sorted in one by one is what a replayed pool sorts at once."""
    journal = []
    driver = Driver(
        new_search(MAKE["front async"](Budget(2000)), Pool(LEVELS), lambda e, s: journal.append(e)),
        seed=1,
        hostile=False,
    )
    for _ in range(600):
        driver.step()
    again = new_search(MAKE["front async"](Budget(2000)), Pool(LEVELS))
    replay(again, journal)
    for level in (1, 2, 3):
        one, other = (
            [c.id for c in s.policy._by_front.best_resting(s.pool, level, 500)]
            for s in (driver.search, again)
        )
        assert one == other
        assert level > 2 or len(one) > 10


# -- what a step costs -----------------------------------------------------------------------------


def bytecodes(work):
    """Count the bytecodes that a call runs in Python: no clock, the same every time."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cost_of_a_step(make_policy, size, steps=40):
    """Return the mean bytecodes of a step once `size` candidates have come in."""
    search = new_search(make_policy(Budget(10**6)), Pool(LEVELS))
    driver = Driver(search, 0, hostile=False, grid=None)
    while len(search.pool) < size:
        driver.step()

    def work():
        for _ in range(steps):
            driver.step()
            search.pool.best()

    return bytecodes(work) / steps


@pytest.mark.parametrize("name", ["nosh", "nosh async", "asha", "pasha"])
def test_a_step_costs_at_most_a_logarithm_of_the_pool(name):
    # All ranked alike, as far as PASHA can tell: it goes on asking whether they are.
    make = MAKE[name] if name != "pasha" else lambda b: PashaPolicy(LEVELS, b, epsilon=0.9999)
    small, large = (cost_of_a_step(make, size) for size in (100, 1200))
    assert large < small * math.log(1200) / math.log(100)


def test_a_step_of_one_large_cohort_reads_no_more_of_it():
    """Over the life of a cohort: a level is sorted once, when it is complete."""

    def cost(size):
        policy = SuccessiveHalvingPolicy(LEVELS, Budget(10**6), cohort=size)
        driver = Driver(new_search(policy, Pool(LEVELS)), 0, hostile=False, grid=None)
        steps = 0

        def work():
            nonlocal steps
            while driver.search.pool.rounds <= 1:
                driver.step()
                steps += 1

        return bytecodes(work) / steps

    small, large = cost(60), cost(480)
    assert large < small * math.log(480) / math.log(60)


def test_a_step_by_front_grows_far_slower_than_the_pool():
    """Sorted in among fronts whose number grows as the root of the pool, times the values."""
    make = lambda b: NoshPolicy(LEVELS, b, mode="async", costs=COSTS[:1])  # noqa: E731
    small, large = (cost_of_a_step(make, size) for size in (100, 1200))
    assert large < small * 1200 / 100 / 3


def test_the_counter_sees_what_is_linear():
    """The test above can fail: the plain pool's answer is found out."""
    pools = []
    for size in (100, 800):
        search = new_search(MAKE["nosh"](Budget(10**6)), PlainPool(LEVELS))
        driver = Driver(search, 0, hostile=False, grid=None)
        while len(search.pool) < size:
            driver.step()
        pools.append(search.pool)
    small, large = (bytecodes(pool.best) for pool in pools)
    assert large > 4 * small


def test_a_candidate_takes_a_bounded_place():
    import tracemalloc

    def held(size):
        tracemalloc.start()
        search = new_search(MAKE["nosh"](Budget(10**6)), Pool(LEVELS))
        driver = Driver(search, 0, hostile=False, grid=None)
        driver.said = Nothing()
        while len(search.pool) < size:
            driver.step()
        memory = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return memory / size

    assert held(800) < 1.5 * held(200) < 1.5 * 4000


class Nothing(list):
    def append(self, value):
        """Forget it."""
