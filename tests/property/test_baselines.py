"""Halving, Hyperband and ASHA against textbook loops on made-up curves; resumes; liveness."""

import itertools
import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raynas.errors import TrialError
from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import event_from_json, event_to_json
from raynas.scheduling.halving import HyperbandPolicy, SuccessiveHalvingPolicy
from raynas.scheduling.pasha import PashaPolicy
from raynas.scheduling.policy import SchedulingPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search, replay
from raynas.scheduling.simulate import simulate
from raynas.spaces.architecture import Architecture
from raynas.testing import FakeObjective, ToySpace, propose_at_random

FRACTIONS = [Fraction(1, 3), Fraction(1, 2), Fraction(1, 4), Fraction(3, 10), Fraction(7, 10)]


class Curves(FakeObjective):
    """Coarse random curves, so that ties are common; some architectures fail at some epoch."""

    def __init__(self, seed, size, epochs, failing=0.0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.accuracy = rng.integers(0, 10, (size, epochs + 1)) / 10
        self.loss = rng.integers(0, 3, (size, epochs + 1)) / 2
        fails = rng.random(size) < failing
        self.fails_at = np.where(fails, rng.integers(1, epochs + 1, size), epochs + 1)

    def metrics(self, text, epoch):
        number = int(text[1:])
        if epoch >= self.fails_at[number]:
            raise TrialError("diverged")
        accuracy, loss = self.accuracy[number, epoch], self.loss[number, epoch]
        return {"accuracy": float(accuracy), "loss": float(loss)}

    def key(self, number, epoch):
        return (-self.accuracy[number, epoch], self.loss[number, epoch], number)


def propose_in_order(space):
    """Answer requests with a0, a1, a2, … as far as the space goes."""

    def answer(request, snapshot, state):
        first = len(snapshot.candidates)
        numbers = range(first, min(first + request.count, len(space)))
        return Proposals("in order", [Architecture("toy", f"a{n}") for n in numbers])

    return answer


def trained(policy, levels, curves, size, workers=1):
    """Return the epochs of each architecture under the policy."""
    space = ToySpace(size)
    search = Search(space, policy, Pool(levels), seed=0)
    try:
        simulate(search, curves, propose_in_order(space), workers=workers)
    except TrialError:
        assume(False)  # a whole round failed: the search gives up, whatever the policy
    assert search.finished
    return [candidate.epochs for candidate in search.pool]


class Book:
    """Who was trained how far, and what is left: all that the textbook loops need."""

    def __init__(self, levels, budget, curves, size):
        self.levels = (0, *levels)
        self.left = budget
        self.curves = curves
        self.size = size
        self.epochs = []
        self.level = []
        self.failed = set()

    @property
    def top(self):
        return len(self.levels) - 1

    def admit(self, count):
        first = len(self.epochs)
        new = list(range(first, min(first + count, self.size)))
        self.epochs += [0] * len(new)
        self.level += [0] * len(new)
        return new

    def train(self, number, level):
        end = min(self.levels[level], int(self.curves.fails_at[number]) - 1)
        self.left -= end - self.epochs[number]
        assert self.left >= 0
        self.epochs[number] = end
        if end < self.levels[level]:
            self.failed.add(number)
        else:
            self.level[number] = level

    def ranking(self, level, among):
        reached = [n for n in among if self.level[n] >= level]
        return sorted(reached, key=lambda n: self.curves.key(n, self.levels[level]))

    def highest(self):
        alive = (level for n, level in enumerate(self.level) if n not in self.failed)
        return max(alive, default=0)

    def goal(self, promised=0, top=None):
        start = self.highest()
        payable = [
            level
            for level in range(start, (top or self.top) + 1)
            if level == start or self.levels[level] - self.levels[start] + promised <= self.left
        ]
        return payable[-1]

    def pays(self, number, level, way_from=0, promised=0, top=None):
        goal = self.goal(promised, top)
        way = max(0, self.levels[goal] - max(self.levels[level], way_from))
        return self.levels[level] - self.epochs[number] + way + promised <= self.left

    def lift(self, top=None):
        """The end rule: the best of the highest level climbs as far as it can be paid."""
        start = self.highest()
        if not 0 < start < self.goal(0, top):
            return False
        at_rest = [n for n, level in enumerate(self.level) if level == start]
        self.train(self.ranking(start, set(at_rest) - self.failed)[0], start + 1)
        return True


def planned(book, size, first, goal, fraction):
    """Epochs of a cohort of which nobody fails."""
    places, cost = size, size * book.levels[first]
    for level in range(first + 1, goal + 1):
        places = max(1, math.floor(places * fraction))
        cost += places * (book.levels[level] - book.levels[level - 1])
    return cost


def cohorts(book, first_level, largest, fraction):
    """Textbook successive halving, cohort after cohort."""
    number = 0
    while True:
        first, goal, size = first_level(number), book.goal(), 0
        while first <= goal and planned(book, size + 1, first, goal, fraction) <= book.left:
            if size == largest(number):
                break
            size += 1
        cohort = book.admit(size)
        if not cohort and not book.lift():
            return book.epochs
        number += bool(cohort)
        for newcomer in cohort:
            book.train(newcomer, first)
        places = len(cohort)
        for level in range(first, book.top):
            places = max(1, math.floor(places * fraction))
            for winner in book.ranking(level, cohort)[:places]:
                if book.pays(winner, level + 1):
                    book.train(winner, level + 1)


def asha(book, fraction, per_round, initial, max_pool, top_of=lambda book: book.top):
    """Textbook ASHA by promotion, with one worker."""
    waiting, asked, exhausted = [], 0, False
    while True:
        top = top_of(book)
        promised = len(waiting) * book.levels[1]
        way_from = book.levels[book.highest()]
        for level in range(top - 1, 0, -1):
            ranking = book.ranking(level, range(len(book.epochs)))
            best = ranking[: math.floor(fraction * len(ranking))]
            best = [n for n in best if book.level[n] == level and n not in book.failed]
            if best and book.pays(best[0], level + 1, way_from, promised, top):
                book.train(best[0], level + 1)
                break
        else:
            if waiting:
                book.train(waiting.pop(0), 1)
                continue
            wanted = min(per_round if asked else initial, max_pool - len(book.epochs))
            left = book.left - max(0, book.levels[book.goal(0, top)] - book.levels[1])
            wanted = min(wanted, left // book.levels[1])
            if wanted > 0 and not exhausted:
                waiting = book.admit(wanted)
                asked += 1
                exhausted = not waiting
            elif not book.lift(top):
                return book.epochs


def crossed_twice(one, other):
    """Return the last distance of two curves if they crossed and crossed back, else None."""
    if one[-1] < other[-1]:
        one, other = other, one
    for early, middle in itertools.combinations(range(len(one) - 1), 2):
        if one[-1] > other[-1] and one[middle] < other[middle] and one[early] > other[early]:
            return one[-1] - other[-1]
    return None


def pasha_top(book, epsilon):
    """The paper's rule for the ladder, by groups of equals and over all pairs."""
    top = max([2, *book.level])
    if top >= book.top:
        return book.top

    def curve(number, level):
        return [book.curves.accuracy[number, e] for e in range(1, book.levels[level] + 1)]

    everybody = range(len(book.epochs))
    for level in range(top, 1, -1):
        pairs = itertools.combinations([curve(n, level) for n in book.ranking(level, everybody)], 2)
        distances = [d for one, other in pairs if (d := crossed_twice(one, other)) is not None]
        if distances and epsilon is None:
            epsilon = np.percentile(distances, 90)
    upper = book.ranking(top, everybody)
    lower = book.ranking(top - 1, upper)
    for here, there in zip(upper, lower, strict=True):
        at = curve(there, top - 1)[-1]
        equals = [n for n in upper if abs(curve(n, top - 1)[-1] - at) <= (epsilon or 0)]
        if here not in equals:
            return top + 1
    return top


LEVELS = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(
    lambda levels: tuple(sorted(levels))
)


@st.composite
def problems(draw):
    """Levels, an affordable budget, curves with or without failures, and a space's size."""
    levels = draw(LEVELS)
    budget = draw(st.integers(levels[0], 150))
    size = draw(st.sampled_from([7, 200]))
    failing = draw(st.sampled_from([0.0, 0.0, 0.2, 0.5]))
    curves = Curves(draw(st.integers(0, 2**20)), size, levels[-1], failing)
    return levels, budget, curves, size


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(FRACTIONS), st.none() | st.integers(1, 30))
def test_successive_halving_is_the_textbook_loop(problem, fraction, cohort):
    levels, budget, curves, size = problem
    policy = SuccessiveHalvingPolicy(
        levels, Budget(budget), promote_fraction=float(fraction), cohort=cohort
    )
    expected = cohorts(
        Book(levels, budget, curves, size),
        lambda number: 1,
        lambda number: cohort or budget,
        fraction,
    )
    assert trained(policy, levels, curves, size) == expected


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(FRACTIONS))
def test_hyperband_is_the_textbook_loop(problem, fraction):
    levels, budget, curves, size = problem
    payable = sum(level <= budget for level in levels)

    def first_level(number):
        return number % payable + 1

    def largest(number):
        above = payable - first_level(number)
        return math.ceil(Fraction(payable, above + 1) / fraction**above)

    policy = HyperbandPolicy(levels, Budget(budget), promote_fraction=float(fraction))
    book = Book(levels, budget, curves, size)
    expected = cohorts(book, first_level, largest, fraction)
    assert trained(policy, levels, curves, size) == expected


@settings(max_examples=200, deadline=None)
@given(
    problems(),
    st.sampled_from(FRACTIONS),
    st.integers(1, 12),
    st.none() | st.integers(1, 12),
    st.none() | st.integers(1, 40),
)
def test_asha_is_the_textbook_loop(problem, fraction, per_round, initial, max_pool):
    levels, budget, curves, size = problem
    policy = AshaPolicy(
        levels,
        Budget(budget),
        promote_fraction=float(fraction),
        per_round=per_round,
        initial=initial,
        max_pool=max_pool,
    )
    book = Book(levels, budget, curves, size)
    expected = asha(book, fraction, per_round, initial or 2 * per_round, max_pool or size)
    assert trained(policy, levels, curves, size) == expected


@settings(max_examples=100, deadline=None)
@given(problems(), st.sampled_from(FRACTIONS), st.integers(2, 7), st.booleans())
def test_cohorts_do_not_depend_on_the_number_of_workers(problem, fraction, workers, brackets):
    levels, budget, curves, size = problem

    def policy():
        r = float(fraction)
        if brackets:
            return HyperbandPolicy(levels, Budget(budget), promote_fraction=r)
        return SuccessiveHalvingPolicy(levels, Budget(budget), promote_fraction=r, cohort=8)

    alone = trained(policy(), levels, curves, size)
    assert trained(policy(), levels, curves, size, workers) == alone


@settings(max_examples=200, deadline=None)
@given(problems(), st.sampled_from(FRACTIONS), st.sampled_from([None, 0, 0.15, 0.3]))
def test_pasha_is_the_textbook_loop(problem, fraction, epsilon):
    levels, budget, curves, size = problem
    policy = PashaPolicy(
        levels, Budget(budget), promote_fraction=float(fraction), per_round=3, epsilon=epsilon
    )
    book = Book(levels, budget, curves, size)
    expected = asha(book, fraction, 3, 6, size, lambda book: pasha_top(book, epsilon))
    assert trained(policy, levels, curves, size) == expected


class Checked(SchedulingPolicy):
    """ASHA, with every answer held against the definition, read from the pool alone."""

    def __init__(self, policy, fraction):
        self.policy = policy
        self.fraction = fraction
        self.num_promotions = 0

    def next_jobs(self, pool, free_slots):
        jobs = self.policy.next_jobs(pool, free_slots)
        expected = []
        for level in range(pool.num_levels - 1, 0, -1):
            reached = sorted((c for c in pool if c.level >= level), key=lambda c: c.rank_key(level))
            best = reached[: math.floor(self.fraction * len(reached))]
            expected += [c.id for c in best if c.level == level and c.status is Status.PAUSED]
        self.num_promotions += len(expected[:free_slots])
        expected += [c.id for c in pool if c.status is Status.WAITING]
        if expected or pool.num_in_flight or self.wants(pool):
            assert [job.candidate_id for job in jobs] == expected[:free_slots]
        return jobs

    def wants(self, pool):
        return self.policy.wants(pool)

    def finished(self, outcome):
        self.policy.finished(outcome)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(FRACTIONS), st.integers(1, 9))
def test_asha_promotes_as_defined_on_any_number_of_workers(seed, fraction, workers):
    """With the budget out of the way: the pool is full long before it is spent."""
    levels = (1, 2, 5, 9)
    policy = AshaPolicy(
        levels, Budget(10_000), promote_fraction=float(fraction), per_round=4, max_pool=40
    )
    checked = Checked(policy, fraction)
    trained(checked, levels, Curves(seed, 200, 9, failing=0.2), 200, workers)
    assert checked.num_promotions > 0


POLICIES = {
    "one cohort": lambda levels, budget: SuccessiveHalvingPolicy(levels, budget),
    "cohorts": lambda levels, budget: SuccessiveHalvingPolicy(levels, budget, cohort=5),
    "hyperband": lambda levels, budget: HyperbandPolicy(levels, budget, promote_fraction=0.5),
    "asha": lambda levels, budget: AshaPolicy(levels, budget, per_round=3),
    "pasha": lambda levels, budget: PashaPolicy(levels, budget, per_round=3),
}


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(sorted(POLICIES)), st.floats(0, 1))
def test_a_resume_after_any_event_gives_the_same_pool(problem, name, where):
    levels, budget, curves, size = problem
    space = ToySpace(size)

    def search(journal):
        return Search(
            space,
            POLICIES[name](levels, Budget(budget)),
            Pool(levels),
            seed=0,
            emit=lambda event, elapsed_s: journal.append(event),
        )

    def run(it):
        try:
            simulate(it, curves, propose_in_order(space))
        except TrialError:
            assume(False)
        return [(c.text, c.epochs, c.level, c.status) for c in it.pool]

    journal = []
    whole = run(search(journal))
    resumed = search([])
    replay(resumed, journal[: int(where * len(journal))])
    resumed.resume()
    assert run(resumed) == whole


@settings(max_examples=100, deadline=None)
@given(problems(), st.sampled_from(sorted(POLICIES)), st.integers(1, 5))
def test_somebody_reaches_the_highest_level_the_budget_can_pay(problem, name, workers):
    levels, budget, curves, size = problem
    assume((curves.fails_at > levels[-1]).all())
    epochs = trained(POLICIES[name](levels, Budget(budget)), levels, curves, size, workers)
    assert sum(epochs) <= budget
    payable = max(level for level in levels if level <= budget)
    if name != "pasha":
        assert max(epochs) == payable
    assert max(epochs) >= min(payable, levels[min(1, len(levels) - 1)])
    assert all(e in levels for e in epochs)


class BaselineMachine(RuleBasedStateMachine):
    """Drives a search as a hostile engine would: any order, failures, lost workers, kills."""

    levels = (1, 2, 5)

    @initialize(
        name=st.sampled_from(sorted(POLICIES)), budget=st.integers(1, 120), size=st.integers(1, 60)
    )
    def begin(self, name, budget, size):
        self.name, self.budget, self.space = name, budget, ToySpace(size)
        self.journal = []
        self.search = self.new_search()

    def new_search(self):
        return Search(
            self.space,
            POLICIES[self.name](self.levels, Budget(self.budget)),
            Pool(self.levels),
            seed=0,
            emit=lambda event, elapsed_s: self.journal.append(event),
        )

    @property
    def pool(self):
        return self.search.pool

    @rule(slots=st.integers(1, 4))
    def start_jobs(self, slots):
        jobs = self.search.next_jobs(slots)
        assert jobs == self.search.next_jobs(slots)
        assert len(jobs) <= slots
        for job in jobs:
            self.search.start(job)

    @rule()
    def answer_request(self):
        request = self.search.request()
        if request is not None:
            proposals = propose_at_random(self.space)(request, self.search.snapshot(), {})
            self.search.admit(request, proposals)

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6), accuracy=st.floats(0, 1), loss=st.floats(0, 9))
    def report(self, pick, accuracy, loss):
        candidate = self.pool.running[pick % self.pool.num_running]
        epoch = self.search.next_report(candidate)
        self.search.report(candidate.id, epoch, {"accuracy": accuracy, "loss": loss}, 0.1)

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6))
    def fail(self, pick):
        self.search.fail(self.pool.running[pick % self.pool.num_running].id, "out of memory")

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6))
    def lose_a_worker(self, pick):
        self.search.interrupt(self.pool.running[pick % self.pool.num_running].id)

    @rule(lost=st.integers(0, 2))
    def kill_the_driver(self, lost):
        """Replay the journal (through JSON), with the last events torn off."""
        journal = self.journal[: len(self.journal) - lost]
        journal = [event_from_json(event_to_json(event)) for event in journal]
        before = self.search
        self.search = self.new_search()
        replay(self.search, journal)
        if not lost:
            for slots in (1, 3):
                answers = [s.policy.next_jobs(s.pool, slots) for s in (before, self.search)]
                assert answers[0] == answers[1]
            assert before.policy.wants(before.pool) == self.search.policy.wants(self.pool)
        self.journal = list(journal)
        self.search.resume()

    @invariant()
    def never_over_budget(self):
        assert self.pool.spent_epochs + self.pool.committed_epochs <= self.budget

    def teardown(self):
        """From wherever it is, a search that is served comes to its end."""
        if not hasattr(self, "search"):
            return
        rng = np.random.default_rng(0)
        for _ in range(10_000):
            self.start_jobs(2)
            if self.pool.num_running:
                self.report(int(rng.integers(10**6)), float(rng.random()), 0.0)
            self.answer_request()
            if self.search.finished:
                break
        else:
            raise AssertionError("the search does not end")
        if self.search.abort is None:
            ends = {Status.PAUSED, Status.DONE, Status.FAILED}
            assert all(candidate.status in ends for candidate in self.pool)


BaselineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBaselinesLive = BaselineMachine.TestCase


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.integers(1, 5),
    st.integers(10, 90),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**20),
)
def test_a_time_budget_is_kept_and_lifts_somebody(name, workers, limit_s, gpu, even, seed):
    """An epoch takes from 1 to 3 s: as long for each architecture, or for each its own time."""
    levels = (1, 2, 5)
    seconds = np.random.default_rng(seed).uniform(1, 3, 1000)
    if even:
        seconds[:] = seconds[0]

    class Uneven(Curves):
        def metrics(self, text, epoch):
            return {**super().metrics(text, epoch), "time_s": float(seconds[int(text[1:])])}

    text = f"{limit_s / 3600}gpuh" if gpu else f"{limit_s}s"
    budget = Budget.parse(text, workers=workers, gpus_per_trial=1.0)
    policy = POLICIES[name](levels, budget)
    space = ToySpace(1000)
    search = Search(space, policy, Pool(levels), seed=0)
    simulate(search, Uneven(seed, 1000, 5), propose_in_order(space), workers=workers)
    pool = search.pool
    # The first epoch of a candidate is an estimate; up to 2 s more, on every worker.
    assert (pool.time_s if gpu else pool.elapsed_s) <= limit_s + 3.0 * (workers if gpu else 1)
    # Before anything is known, every worker trains one to the first level (Hyperband's first
    # bracket too); from then on, what all epochs take is known where they take the same.
    begun = workers * seconds[0] if gpu else seconds[0]
    payable = [level for level in levels if begun + level * seconds[0] < limit_s]
    if even and payable and name != "pasha":
        assert pool.reached(levels.index(payable[-1]) + 1)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_failed_candidate_is_never_trained_again(name):
    curves = Curves(5, 400, 9, failing=0.4)
    epochs = trained(POLICIES[name]((1, 3, 9), Budget(300)), (1, 3, 9), curves, 400)
    for number, trained_to in enumerate(epochs):
        assert trained_to < curves.fails_at[number]
    assert 9 in epochs or name == "pasha"
