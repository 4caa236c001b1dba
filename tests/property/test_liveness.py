"""Arrivals, results, failures and restarts in any order: the pool's invariants, and the end."""

import math

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Event, event_from_json, event_to_json
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search, replay
from raynas.testing import ToySpace, propose_at_random

LEVELS = (1, 2, 5)


class SearchMachine(RuleBasedStateMachine):
    """Drives one search as a hostile engine would."""

    @initialize(
        budget=st.integers(1, 120),
        fraction=st.sampled_from([0.2, 0.5, 0.7]),
        per_round=st.integers(1, 5),
        mode=st.sampled_from(["sync", "async"]),
        size=st.integers(1, 60),
    )
    def begin(self, budget, fraction, per_round, mode, size):
        self.journal: list[Event] = []
        self.space = ToySpace(size)
        self.make_policy = lambda: NoshPolicy(
            LEVELS, Budget(budget), promote_fraction=fraction, per_round=per_round, mode=mode
        )
        self.budget = budget
        self.search = self.new_search()
        self.lost_requests = 0

    def new_search(self):
        return Search(
            self.space,
            self.make_policy(),
            Pool(LEVELS),
            seed=0,
            emit=lambda event, elapsed_s: self.journal.append(event),
        )

    @property
    def pool(self):
        return self.search.pool

    @rule(slots=st.integers(1, 4))
    def start_jobs(self, slots):
        for job in self.search.next_jobs(slots):
            self.search.start(job)

    @rule()
    def answer_request(self):
        request = self.search.request()
        if request is not None:
            proposals = propose_at_random(self.space)(request, self.search.snapshot(), {})
            self.search.admit(request, proposals)

    @rule()
    def lose_the_proposer(self):
        if self.search.request() is not None:
            self.search.withdraw_request()

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6), accuracy=st.floats(0, 1), loss=st.floats(0, 9))
    def report(self, pick, accuracy, loss):
        candidate = self.pool.running[pick % self.pool.num_running]
        epoch = self.search.next_report(candidate)
        self.search.report(candidate.id, epoch, {"accuracy": accuracy, "loss": loss}, 0.1)

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6), diverged=st.booleans())
    def fail(self, pick, diverged):
        candidate = self.pool.running[pick % self.pool.num_running]
        if diverged:
            epoch = self.search.next_report(candidate)
            self.search.report(candidate.id, epoch, {"accuracy": math.nan})
        else:
            self.search.fail(candidate.id, "out of memory")

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6))
    def lose_a_worker(self, pick):
        self.search.interrupt(self.pool.running[pick % self.pool.num_running].id)

    @rule(lost=st.integers(0, 2))
    def kill_the_driver(self, lost):
        """Replay the journal (through JSON), with the last events torn off."""
        journal = self.journal[: len(self.journal) - lost] if lost else self.journal
        journal = [event_from_json(event_to_json(event)) for event in journal]
        self.search = self.new_search()
        replay(self.search, journal)
        self.journal = list(journal)
        self.search.resume()

    @invariant()
    def never_over_budget(self):
        assert self.pool.spent_epochs + self.pool.committed_epochs <= self.budget

    @invariant()
    def books_balance(self):
        pool = self.pool
        assert pool.spent_epochs == sum(c.epochs for c in pool)
        assert pool.committed_epochs == sum(
            c.target - c.epochs for c in pool if c.target is not None
        )
        for level in range(1, len(LEVELS) + 1):
            assert pool.reached(level) == sum(c.level >= level for c in pool)
            assert pool.heading(level) == sum(
                c.level < level <= pool.level_of(c.target) for c in pool if c.target is not None
            )

    @invariant()
    def nobody_vanishes(self):
        pool = self.pool
        assert [c.id for c in pool] == list(range(len(pool)))
        assert len({c.key for c in pool}) == len(pool)
        resting = sum(pool.num_resting(level) for level in range(1, len(LEVELS) + 1))
        done = sum(c.status is Status.DONE for c in pool)
        assert pool.num_waiting + pool.num_in_flight + resting + done + pool.num_failed == len(pool)

    @invariant()
    def promotions_keep_the_quota(self):
        """At no time more than ceil(r n) + 1 promoted (§6.2); ensure_top may add the one."""
        pool, fractions = self.pool, self.search.policy.promote_fraction
        for level in range(1, len(LEVELS)):
            promoted = pool.reached(level + 1) + pool.heading(level + 1)
            below = pool.reached(level) + pool.heading(level)
            assert promoted <= math.ceil(fractions[level - 1] * below) + 1

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
        assert self.pool.num_running == 0
        ends = {Status.PAUSED, Status.DONE, Status.FAILED}
        if self.search.abort is None:
            assert self.pool.num_in_flight == 0
            assert all(c.status in ends for c in self.pool)


SearchMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLiveness = SearchMachine.TestCase
