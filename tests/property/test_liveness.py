"""Arrivals, results, failures and restarts in any order: the pool's invariants, and the end.

`make test-slow` tries thousands of orders, longer ones too (``--hypothesis-profile=thorough``).
"""

import json
import math
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raynas.runs.journal import read_journal
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Event, event_to_json
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.policy import Job
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search, replay
from raynas.seeds import derive_rng
from raynas.testing import ToySpace, propose_at_random

LEVELS = (1, 2, 5)
COSTS = ("latency_ms", "flops")


def cost(name, text):
    """Few values, so that ties are common."""
    return round(float(derive_rng(0, name, text).uniform(0, 1)), 1)


def fingerprint(pool):
    return [(c.key, c.status, c.epochs, c.level, c.target, c.running) for c in pool]


class SearchMachine(RuleBasedStateMachine):
    """Drives one search as a hostile engine would."""

    @initialize(
        budget=st.integers(1, 120),
        fraction=st.sampled_from([0.2, 0.5, 0.7]),
        per_round=st.integers(1, 5),
        mode=st.sampled_from(["sync", "async"]),
        size=st.integers(1, 60),
        costs=st.sampled_from([(), ("latency_ms",), ("latency_ms", "flops")]),
        limit=st.sampled_from([None, 0.7, 0.3]),
    )
    def begin(self, budget, fraction, per_round, mode, size, costs, limit):
        self.journal: list[Event] = []
        self.limits = {} if limit is None else {"latency_ms": limit}
        self.space = ToySpace(size)
        self.make_policy = lambda: NoshPolicy(
            LEVELS,
            Budget(budget),
            promote_fraction=fraction,
            per_round=per_round,
            mode=mode,
            costs=costs,
        )
        self.budget = budget
        self.search = self.new_search()

    def new_search(self):
        return Search(
            self.space,
            self.make_policy(),
            Pool(LEVELS),
            seed=0,
            emit=lambda event, elapsed_s: self.journal.append(event),
            limits=self.limits,
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
            self.search.admit(request, self.proposals(request, over=False))

    def proposals(self, request, *, over):
        """Answer a request; with costs, and nothing over the limits unless asked for."""
        found = propose_at_random(self.space)(request, self.search.snapshot(), {})
        costs = {a.text: {name: cost(name, a.text) for name in COSTS} for a in found.architectures}
        fine = [
            a
            for a in found.architectures
            if over or all(costs[a.text][name] <= most for name, most in self.limits.items())
        ]
        return Proposals(found.source, fine, costs=costs)

    @rule()
    def propose_what_is_over_a_limit(self):
        """Whoever does is at fault, and nobody is admitted."""
        request = self.search.request()
        if request is None:
            return
        proposals = self.proposals(request, over=True)
        dear = [
            a
            for a in proposals.architectures
            if any(proposals.costs[a.text][name] > most for name, most in self.limits.items())
        ]
        if dear:
            self.refuses(lambda: self.search.admit(request, proposals))
        self.search.withdraw_request()

    def refuses(self, work):
        """A contradiction is an error, and leaves pool and journal as they were."""
        before, length = fingerprint(self.pool), len(self.journal)
        with pytest.raises(ValueError, match=r"."):
            work()
        assert (fingerprint(self.pool), len(self.journal)) == (before, length)

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
    @rule(pick=st.integers(0, 10**6), skip=st.integers(1, 5), accuracy=st.floats(0, 1))
    def report_after_epochs_unheard(self, pick, skip, accuracy):
        """A worker whose earlier reports were lost is next heard of at a later epoch."""
        candidate = self.pool.running[pick % self.pool.num_running]
        epoch = min(candidate.target, candidate.epochs + skip)
        self.search.report(candidate.id, epoch, {"accuracy": accuracy}, 0.1)

    @precondition(lambda self: len(self.pool))
    @rule(pick=st.integers(0, 10**6), back=st.integers(0, 5))
    def report_twice_or_too_late(self, pick, back):
        """An epoch that is known already, or of a candidate without a job."""
        candidate = self.pool[pick % len(self.pool)]
        epoch = max(0, candidate.epochs - back)
        if candidate.target is None:
            epoch = candidate.epochs + 1 + back
        self.refuses(lambda: self.search.report(candidate.id, epoch, {"accuracy": 0.9}))

    @precondition(lambda self: len(self.pool))
    @rule(pick=st.integers(0, 10**6))
    def fail_or_lose_who_has_no_job(self, pick):
        candidate = self.pool[pick % len(self.pool)]
        if candidate.target is None:
            self.refuses(lambda: self.search.fail(candidate.id, "too late"))
            self.refuses(lambda: self.search.interrupt(candidate.id))

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6))
    def start_who_runs(self, pick):
        candidate = self.pool.running[pick % self.pool.num_running]
        self.refuses(lambda: self.search.start(Job.of(candidate, candidate.target)))

    @precondition(lambda self: self.pool.num_running)
    @rule(pick=st.integers(0, 10**6))
    def give_up_a_job(self, pick):
        """A user's own scheduler stops a trial: it rests where it is, promotable."""
        candidate = self.pool.running[pick % self.pool.num_running]
        self.search.interrupt(candidate.id, owed=False)
        assert candidate.target is None

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

    @rule(lost=st.integers(0, 2), torn=st.integers(0, 200), times=st.integers(1, 2))
    def kill_the_driver(self, lost, torn, times):
        """Read the journal's file again, its last events lost or torn; go on once, or twice."""
        kept = self.journal[: len(self.journal) - lost] if lost else self.journal
        lines = [json.dumps({"t": 0.0, **event_to_json(event)}) + "\n" for event in kept]
        content = "".join(lines).encode()
        content = content[: max(0, len(content) - torn)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            path.write_bytes(content)
            for _ in range(times):
                history, size = read_journal(path)
                whole = content.rpartition(b"\n")[0]
                assert size == len(whole) + bool(whole)
                assert [event for event, _ in history] == kept[: len(history)]
                self.search = self.new_search()
                replay(self.search, [event for event, _ in history])
                self.journal = [event for event, _ in history]
                self.search.resume()
        length = len(self.journal)
        self.search.resume()
        assert len(self.journal) == length, "nothing runs any more: there is nothing to mark"

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


THOROUGH = settings.default.max_examples > 1000
SearchMachine.TestCase.settings = settings(
    max_examples=4000 if THOROUGH else 150,
    stateful_step_count=80 if THOROUGH else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLiveness = SearchMachine.TestCase
