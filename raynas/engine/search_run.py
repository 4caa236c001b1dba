"""One session of a search on Ray Tune: wire policy, proposer, proxies and trials, and run.

Every session is a *fresh* Tune experiment over what is outstanding; the journal is what carries a
search from one to the next. Tune's own restore is never used: it forgets the scheduler and starts
every paused trial.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler

from raynas.engine.dispatcher import Dispatcher
from raynas.engine.newcomers import Newcomers
from raynas.engine.scheduler import PolicyScheduler, UserScheduler
from raynas.engine.searcher import CandidateSearcher
from raynas.engine.session import Resources, capacity
from raynas.engine.storage import as_storage
from raynas.engine.trainable import CandidateTrainable
from raynas.scheduling.objective import Objective
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import Propose, Score
from raynas.storage import Location, remove_tree

_MAX_SAMPLES = 10**9
_CAPACITY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a session runs.

    Attributes:
        folder: The run folder; checkpoints go below it.
        workers: Trials side by side (None: as many as the cluster holds, also while it grows).
        resources: What each trial holds.
        scratch: Where Tune's files go while it runs (None: below the run folder); every worker
            must reach it.
        max_worker_deaths: How often a candidate's worker may die before the candidate is failed.
    """

    folder: Location
    workers: int | None = None
    resources: Resources = field(default_factory=Resources)
    scratch: Path | None = None
    max_worker_deaths: int = 3


def run_search(
    search: Search,
    objective: Objective,
    propose: Propose,
    options: RunOptions,
    *,
    score: Score | None = None,
    report_epochs: list[int] | None = None,
    scheduler: TrialScheduler | None = None,
    notify: Callable[[], None] = lambda: None,
) -> list[str]:
    """Run `search` on the connected Ray until it is finished or interrupted (Ctrl-C).

    Args:
        search: New, or replayed from its journal.
        objective: Trains architectures; pickled once to every worker.
        propose: Answers requests for newcomers; sent to an actor.
        options: Where and how wide.
        score: Zero-cost proxies; sent to actors.
        report_epochs: Epochs at which the objective can report (None: every epoch).
        scheduler: A Tune scheduler of the user's that decides instead of the search's policy.
        notify: Called whenever the pool changed.

    Returns:
        What workers had to say that is no error.

    Raises:
        WorkerError: workers cannot work.
        TrialError: every newcomer of a round failed.
    """
    width = _Width(options)
    # On a cluster that has yet to grow to `workers`, they would all sit on the head.
    num_scorers = min(width(), max(1, capacity(options.resources)))
    newcomers = Newcomers(search, propose, score, num_scorers=num_scorers)
    dispatcher = Dispatcher(
        search,
        newcomers,
        width,
        report_epochs=report_epochs,
        notify=notify,
        resume_paused=scheduler is None,
    )
    try:
        # With no trial at all Tune blocks inside its own poll: have the first ones ready.
        newcomers.poll_until(lambda: bool(search.next_jobs(1)))
        notify()
        if search.next_jobs(1):
            _fit(dispatcher, objective, options, width, scheduler)
    finally:
        newcomers.close()
        search.resume()
        notify()
    error = dispatcher.error or search.abort
    if error is not None:
        raise error
    return dispatcher.notices


def _fit(
    dispatcher: Dispatcher,
    objective: Objective,
    options: RunOptions,
    width: Callable[[], int],
    scheduler: TrialScheduler | None,
) -> None:
    # It would report every paused trial as one that "did not complete"; errors reach us anyway.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    scratch = (options.scratch or options.folder) / "tune"
    remove_tree(scratch)  # of a driver that was killed
    trainable = tune.with_resources(
        tune.with_parameters(
            CandidateTrainable,
            objective=cloudpickle.dumps(objective),
            folder=str((options.folder / "checkpoints").resolve()),
        ),
        tune.PlacementGroupFactory([options.resources.as_bundle()]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=CandidateSearcher(dispatcher),
            scheduler=(
                PolicyScheduler(dispatcher, width)
                if scheduler is None
                else UserScheduler(dispatcher, scheduler)
            ),
            metric="accuracy",
            mode="max",
            num_samples=_MAX_SAMPLES,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"session-{time.time_ns()}",
            **as_storage(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=options.max_worker_deaths),
            # Ours is written: a worker that died during Tune's would have the trial begin again.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with _pending_trials(max(8, 2 * width())):
            tuner.fit()
    finally:
        remove_tree(scratch)


@contextmanager
def _pending_trials(count: int) -> Iterator[None]:
    """Let Tune start `count` actors at once; with a searcher of one's own it starts one by one."""
    name = "TUNE_MAX_PENDING_TRIALS_PG"
    given = os.environ.get(name)
    os.environ[name] = given or str(count)
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]


class _Width:
    """How many trials may run side by side now; asks the cluster at most every few seconds."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._known = 0
        self._asked_at = -_CAPACITY_EVERY_S

    def __call__(self) -> int:
        if self._options.workers is not None:
            return self._options.workers
        now = time.monotonic()
        if now - self._asked_at >= _CAPACITY_EVERY_S:
            self._known, self._asked_at = max(1, capacity(self._options.resources)), now
        return self._known
