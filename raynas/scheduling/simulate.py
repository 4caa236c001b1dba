"""Run a search in one process with a simulated clock and N simulated workers (discrete events).

The same policy, pool and proposer objects as on Ray; only time is made up: an epoch lasts what the
objective's ``time_s`` says, or one second. In sync mode the pool that comes out is the one Ray
would give, architecture by architecture.
"""

import heapq
import itertools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from raynas.errors import TrialError
from raynas.scheduling.events import Metrics
from raynas.scheduling.objective import Objective, Trial
from raynas.scheduling.search import Decision, Proposals, Request, Search
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture

Propose = Callable[[Request, PoolSnapshot, dict[str, object]], Proposals]
"""Answers a request from a snapshot and the proposer's last state."""

Score = Callable[[Sequence[Architecture]], Sequence[Mapping[str, float]]]
"""Zero-cost proxies of each architecture."""


@dataclass(slots=True)
class _Simulation:
    search: Search
    objective: Objective
    trials: dict[int, Trial] = field(default_factory=dict)
    events: list[tuple[float, int, int, int, Metrics | str]] = field(default_factory=list)
    tickets: "itertools.count[int]" = field(default_factory=itertools.count)

    def run_epoch(self, candidate_id: int, now_s: float) -> None:
        """Train up to the next report and put it on the calendar."""
        candidate = self.search.pool[candidate_id]
        epoch = self.search.next_report(candidate)
        metrics: Metrics | str
        try:
            trial = self.trials.get(candidate_id)
            if trial is None:
                architecture = self.search.space.parse(candidate.text)
                seed = self.search.trial_seed(candidate)
                trial = self.trials[candidate_id] = self.objective.start(architecture, seed)
            metrics = trial.train(epoch)
            lasts_s = metrics.get("time_s", float(epoch - candidate.epochs))
        except TrialError as error:
            metrics, lasts_s = str(error), 0.0
        except Exception:  # as on Ray: whatever training raises is the architecture's fault
            metrics, lasts_s = traceback.format_exc(), 0.0
        heapq.heappush(
            self.events, (now_s + lasts_s, next(self.tickets), candidate_id, epoch, metrics)
        )

    def hear_next(self, started_s: dict[int, float]) -> None:
        """Advance the clock to the next report and act on the decision."""
        now_s, _, candidate_id, epoch, metrics = heapq.heappop(self.events)
        self.search.pool.elapsed_s = now_s
        if isinstance(metrics, str):
            decision = self.search.fail(candidate_id, metrics)
        else:
            time_s = now_s - started_s[candidate_id]
            decision = self.search.report(candidate_id, epoch, metrics, time_s)
        if decision is Decision.CONTINUE:
            started_s[candidate_id] = now_s
            self.run_epoch(candidate_id, now_s)
        elif decision is Decision.STOP:
            self.trials.pop(candidate_id, None)


def simulate(
    search: Search,
    objective: Objective,
    propose: Propose,
    *,
    score: Score | None = None,
    workers: int = 1,
) -> None:
    """Run `search` to its end; its pool holds the result.

    Args:
        search: A search, new or replayed.
        objective: Answers how good an architecture is after e epochs.
        propose: Answers requests for newcomers.
        score: Zero-cost proxies; needed if the search's level 0 is on.
        workers: Trials that run side by side.

    Raises:
        TrialError: every newcomer of a round failed.
    """
    objective.prepare()
    simulation = _Simulation(search, objective)
    started_s: dict[int, float] = {}
    while True:
        now_s = search.pool.elapsed_s
        for job in search.next_jobs(workers - search.pool.num_running):
            search.start(job)
            started_s[job.candidate_id] = now_s
            simulation.run_epoch(job.candidate_id, now_s)
        if search.pool.num_running < workers and (request := search.request()) is not None:
            proposals = propose(request, search.snapshot(), search.proposer_state)
            proxies = score_all(search, request, proposals, score)
            search.admit(request, proposals, proxies)
        elif simulation.events:
            simulation.hear_next(started_s)
        else:
            break
    if search.abort:
        raise search.abort


def score_all(
    search: Search, request: Request, proposals: Proposals, score: Score | None
) -> dict[str, Metrics]:
    """Return the proxies of those proposed that level 0 does not know yet, by text."""
    if not request.score:
        return {}
    if score is None:
        raise ValueError("level 0 is on but there is nothing to score proxies with")
    unknown = search.unscored(proposals)
    return {a.text: dict(p) for a, p in zip(unknown, score(unknown), strict=True)}
