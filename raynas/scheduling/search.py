"""One search without an engine: pool, policy and level 0 behind the few calls an engine makes.

An engine (Ray Tune, or `simulate`) owns workers and clocks and nothing else. It asks for jobs and
proposals and says what happened; every change of the pool passes through here, goes to `emit`
(the journal) and to the policy, in that order. Two engines that say the same things get the same
decisions, architecture by architecture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from raynas.errors import TrialError
from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.events import (
    Event,
    Failed,
    Interrupted,
    Metrics,
    Newcomer,
    Proposed,
    Reported,
    Started,
)
from raynas.scheduling.level0 import Level0 as Level0
from raynas.scheduling.policy import Job, Outcome, SchedulingPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.seeds import derive_seed
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace

_MIN_SUSPECTS = 5
"""Newcomers in a row that must fail, if there are as many, before the search gives up."""


class Decision(StrEnum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    """Keep the weights: it may be promoted later."""
    STOP = "stop"
    """It is at the top or failed: it will never train again."""


@dataclass(frozen=True, slots=True)
class Request:
    """Newcomers are wanted.

    Attributes:
        round: Number of the round they will make up.
        wanted: How many will be admitted.
        count: How many to propose (more than `wanted` where level 0 chooses among them).
        score: Whether their proxies are needed.
        seed: Seeds every draw of this proposal.
    """

    round: int
    wanted: int
    count: int
    score: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Proposals:
    """What a proposer answers to a request.

    Attributes:
        source: Name of the proposer.
        architectures: Best first, where the proposer has an order.
        proposer_state: What it remembers.
        fit: Facts of its refit.
        weighed: Whether their order has taken in the proxies that were known.
        costs: What each costs to run, by text, where the search heeds costs (`Candidate.costs`).
    """

    source: str
    architectures: list[Architecture]
    proposer_state: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] | None = None
    weighed: bool = False
    costs: Mapping[str, Metrics] = field(default_factory=dict)


class Search:
    """The state of one search.

    Args:
        space: Where architectures come from.
        policy: Who is trained how far.
        pool: Empty, or as it was left.
        seed: The run's seed.
        level0: Whether and how proxies choose among proposals.
        emit: Called with each event and the run's elapsed seconds before anyone acts on it.
        report_epochs: Epochs at which the objective can report, increasing (None: every epoch).
        limits: Highest value of each cost that is limited, by name. Who proposes keeps to them;
            here they are checked once more, for all engines and proposers.
    """

    def __init__(
        self,
        space: SearchSpace,
        policy: SchedulingPolicy,
        pool: Pool,
        *,
        seed: int,
        level0: Level0 | None = None,
        emit: Callable[[Event, float], None] = lambda event, elapsed_s: None,
        report_epochs: Sequence[int] | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.space = space
        self.policy = policy
        self.pool = pool
        self.seed = seed
        self.level0 = level0 or Level0()
        self.proposer_state: dict[str, Any] = {}
        self.fit: dict[str, Any] | None = None
        """Facts of the predictor's latest refit."""
        self.abort: TrialError | None = None
        """Why the search must stop: every newcomer of a round failed."""
        self._emit = emit
        self._report_epochs = report_epochs
        self._limits = dict(limits or {})
        self._pending: Request | None = None

    # -- what an engine asks -------------------------------------------------------------------

    def next_jobs(self, free_slots: int) -> list[Job]:
        """Return jobs for free workers: those owed since an interruption, then the policy's."""
        if free_slots <= 0 or self.abort:
            return []
        owed = [
            Job(c.id, c.text, c.epochs, c.target)
            for c in self.pool.owed
            if c.target is not None and self.policy.may_continue(self.pool, c)
        ][:free_slots]
        if len(owed) == free_slots:
            return owed
        return owed + self.policy.next_jobs(self.pool, free_slots - len(owed))

    def request(self) -> Request | None:
        """Return a request for newcomers, if the policy wants any and none is being answered."""
        if self._pending is not None or self.abort or self.pool.exhausted:
            return None
        wanted = self.policy.wants(self.pool)
        if wanted <= 0:
            return None
        number = self.pool.rounds
        score = self.level0.active(number)
        count = self.level0.num_proposed(wanted, number)
        seed = derive_seed(self.seed, "propose", number)
        self._pending = Request(number, wanted, count, score, seed)
        return self._pending

    def withdraw_request(self) -> None:
        """Forget a request nobody will answer (the proposer was lost); it will be made again."""
        self._pending = None

    def snapshot(self) -> PoolSnapshot:
        """Return the pool as a proposer sees it."""
        return self.pool.snapshot()

    def unscored(self, proposals: Proposals) -> list[Architecture]:
        """Return those proposed whose proxies level 0 does not know yet."""
        fresh: dict[str, Architecture] = {}
        for architecture in proposals.architectures:
            key = self.space.key(architecture)
            if key not in self.pool and key not in self.pool.scored:
                fresh.setdefault(key, architecture)
        return list(fresh.values())

    def next_report(self, candidate: Candidate) -> int:
        """Return the epoch at which a running candidate reports next."""
        assert candidate.target is not None
        if self._report_epochs is None:
            return candidate.epochs + 1
        later = [e for e in self._report_epochs if candidate.epochs < e <= candidate.target]
        return later[0] if later else candidate.target

    def trial_seed(self, candidate: Candidate) -> int:
        """Return the seed of a candidate's training: fixed by the run's seed and its key."""
        return derive_seed(self.seed, "train", candidate.key)

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing more will: the pool is final."""
        return self._ended(self.next_jobs)

    @property
    def finished_but_for_owed(self) -> bool:
        """Whether only interrupted jobs are left, where somebody else decides on those."""
        return self._ended(lambda slots: self.policy.next_jobs(self.pool, slots))

    def _ended(self, next_jobs: Callable[[int], list[Job]]) -> bool:
        if self.pool.num_running or self._pending is not None:
            return False
        if self.abort:
            return True
        return not next_jobs(1) and self.policy.wants(self.pool) <= 0

    # -- what an engine says -------------------------------------------------------------------

    def admit(
        self,
        request: Request,
        proposals: Proposals,
        proxies: Mapping[str, Metrics] | None = None,
    ) -> list[Candidate]:
        """Take in the answer to a request and return the newcomers.

        Args:
            request: As returned by :meth:`request`.
            proposals: The proposer's answer; keys already in the pool are dropped.
            proxies: Scores by architecture text, where the request asked for them.

        Raises:
            ValueError: one of them is over a limit, or its cost unknown.
        """
        proposed = self._newcomers(proposals, proxies or {})
        scored = [n for n in proposed if n.key not in self.pool.scored] if request.score else []
        admitted = self._chosen(request, proposals, proposed)
        self._pending = None
        self.proposer_state = proposals.proposer_state
        self._record(
            Proposed(
                round=request.round,
                source=proposals.source,
                admitted=admitted,
                scored=scored,
                exhausted=not admitted,
                proposer_state=proposals.proposer_state,
                policy_state=self.policy.state_dict(),
                fit=proposals.fit,
            )
        )
        return self.pool.newest(len(admitted)) if admitted else []

    def start(self, job: Job) -> None:
        """Hear that a worker took a job."""
        self._record(Started(job.candidate_id, job.to_epoch))

    def report(
        self, candidate_id: int, epoch: int, metrics: Metrics, time_s: float = 0.0
    ) -> Decision:
        """Hear that a candidate reached `epoch`, and say what becomes of its trial.

        A report without a finite accuracy is a failure of the architecture.
        """
        accuracy = metrics.get("accuracy", math.nan)
        if not math.isfinite(accuracy):
            return self.fail(candidate_id, f"accuracy is {accuracy} at epoch {epoch}")
        self._record(Reported(candidate_id, epoch, metrics, time_s))
        candidate = self.pool[candidate_id]
        if candidate.target is None:
            return Decision.STOP if candidate.status is Status.DONE else Decision.PAUSE
        if not self.policy.may_continue(self.pool, candidate):
            self._record(Interrupted(candidate_id))
            return Decision.PAUSE
        return Decision.CONTINUE

    def fail(self, candidate_id: int, error: str) -> Decision:
        """Hear that training a candidate failed for a reason of its own."""
        self._record(Failed(candidate_id, error))
        return Decision.STOP

    def interrupt(self, candidate_id: int, *, owed: bool = True) -> None:
        """Hear that a worker lost a job, or (not `owed`) that a user's scheduler gave it up."""
        self._record(Interrupted(candidate_id, owed))

    def resume(self) -> None:
        """Mark what ran when the last session ended as owed. Call once after a replay."""
        for candidate in self.pool.running:
            self._record(Interrupted(candidate.id))

    # -- parts ---------------------------------------------------------------------------------

    def _newcomers(self, proposals: Proposals, proxies: Mapping[str, Metrics]) -> list[Newcomer]:
        """Return those proposed who are not in the pool, no key twice."""
        fresh: dict[str, Newcomer] = {}
        for architecture in proposals.architectures:
            key, text = self.space.key(architecture), architecture.text
            if key in self.pool or key in fresh:
                continue
            known = self.pool.scored.get(key)
            own = (dict(facts.get(text, {})) for facts in (proxies, proposals.costs))
            newcomer = known or Newcomer(text, key, *own)
            for name, limit in self._limits.items():
                cost = newcomer.costs.get(name, math.nan)
                if not cost <= limit:
                    raise ValueError(f"{text} was proposed: {name} {cost:g}, limit {limit:g}")
            fresh[key] = newcomer
        return list(fresh.values())

    def _chosen(
        self, request: Request, proposals: Proposals, proposed: list[Newcomer]
    ) -> list[Newcomer]:
        """Return who of the proposed is admitted."""
        if not request.score:
            return proposed[: request.wanted]
        if request.round == 0:
            seed = derive_seed(request.seed, "level 0")
            return self.level0.first(proposed, request.wanted, seed)
        known = self.pool.scored
        if not proposals.weighed:  # those passed over before compete again
            own = {newcomer.key for newcomer in proposed}
            residents = [n for key, n in known.items() if key not in own]
            return self.level0.best([*residents, *proposed], request.wanted)
        if all(newcomer.key in known for newcomer in proposed):
            return proposed[: request.wanted]
        return self.level0.best(proposed, request.wanted)

    def _record(self, event: Event) -> None:
        self._apply(event)
        self._emit(event, self.pool.elapsed_s)

    def _apply(self, event: Event) -> None:
        """Change the pool and tell the policy; live and in a replay alike."""
        if isinstance(event, Proposed):
            self.pool.record(event)
            self.proposer_state = event.proposer_state
            self.fit = event.fit if event.fit is not None else self.fit
            return
        candidate = self.pool[event.id]
        if isinstance(event, Started):
            job = Job.of(candidate, event.to_epoch)
            self.pool.record(event)
            self.policy.started(job)
            return
        target = candidate.target
        self.pool.record(event)
        if target is None or candidate.target is not None:
            return
        job = Job(candidate.id, candidate.text, candidate.origin, target)
        if isinstance(event, Failed):
            self.policy.finished(Outcome(job, error=event.error))
            self._stop_if_all_fail(candidate)
        elif isinstance(event, Reported):
            self.policy.finished(Outcome(job, accuracy=event.metrics["accuracy"]))

    def _stop_if_all_fail(self, candidate: Candidate) -> None:
        """Abort when a whole round failed: then it is hardly the architectures' fault.

        A small round (the last of a budget often is) proves little alone: those admitted just
        before it must have failed too.
        """
        ids = self.pool.ids_of_round(candidate.round)
        first = max(0, min(ids.start, ids.stop - _MIN_SUSPECTS))
        # The youngest first: they are the last to fail, so a large round is not read for each.
        suspects = (self.pool[i] for i in range(ids.stop - 1, first - 1, -1))
        if ids.stop - first > 1 and all(
            c.status is Status.FAILED and not c.level for c in suspects
        ):
            culprit = self.pool[first]
            self.abort = TrialError(
                f"every newcomer of round {candidate.round} failed; the first was {culprit.text}:\n"
                f"{culprit.error}"
            )


def replay(search: Search, history: Sequence[Event]) -> None:
    """Rebuild a search from its journal: the pool by its events, the policy by what it heard.

    The policy's state is loaded as it was at the last round; what came after is told it again.
    """
    rounds = [i for i, event in enumerate(history) if isinstance(event, Proposed)]
    last_round = rounds[-1] if rounds else -1
    for event in history[:last_round]:
        search.pool.record(event)
    if rounds:
        last = history[last_round]
        assert isinstance(last, Proposed)
        search.policy.load_state_dict(last.policy_state)
    for event in history[max(last_round, 0) :]:
        search._apply(event)
