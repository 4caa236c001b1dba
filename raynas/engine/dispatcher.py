"""Between a search and Tune: which Tune trial is which candidate, and what to hand out next.

Tune asks in two places: its searcher for new trials, its scheduler for paused ones. Both ask here,
so a job is committed once, in the order the policy gave it. All of Ray's view of a run is in this
object; all of the run's truth is in the `Search`.
"""

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial

from raynas.engine.losses import MOST_NODES_LOST, lost_node
from raynas.engine.newcomers import Newcomers
from raynas.engine.trainable import TrialConfig
from raynas.errors import DiskFullError, RaynasError, WorkerError
from raynas.scheduling.policy import Job
from raynas.scheduling.search import Decision, Search

_ACTOR = re.compile(r"actor_id: ([0-9a-f]+)")
"""Names the worker that died, in Ray's words."""

_IDLE_WAIT_S = 0.2
"""How long to wait for the proposer when nothing else is going on (Tune's loop would spin)."""


class Dispatcher:
    """Hands jobs to Tune and its reports to the search.

    Args:
        search: The search.
        newcomers: Answers its requests.
        capacity: Returns how many trials may run side by side now.
        report_epochs: Epochs at which the objective can report (None: every epoch).
        notify: Called after anything changed (views, progress display).
        resume_paused: Whether paused Tune trials are handed out here; False where a user's own
            Tune scheduler does it.
    """

    def __init__(
        self,
        search: Search,
        newcomers: Newcomers,
        capacity: Callable[[], int],
        *,
        report_epochs: list[int] | None = None,
        notify: Callable[[], None] = lambda: None,
        resume_paused: bool = True,
    ) -> None:
        self.search = search
        self.error: RaynasError | None = None
        """Why the run must stop, if it must."""
        self.notices: list[str] = []
        """What workers had to say that is no error (a checkpoint that could not be read)."""
        self._newcomers = newcomers
        self._capacity = capacity
        self._report_epochs = report_epochs
        self._notify = notify
        self._resume_paused = resume_paused
        self._started_at = time.monotonic() - search.pool.elapsed_s
        self._trials: dict[int, TuneTrial] = {}
        self._candidates: dict[str, int] = {}
        self._expected: set[str] = set()
        self._new: deque[Job] = deque()
        self._paused: deque[Job] = deque()
        self._deaths_in_a_row = 0
        self._nodes_lost: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._dead: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the pickle Tune makes of a run, which nobody reads."""
        return {}

    # -- handing out ---------------------------------------------------------------------------

    def advance(self) -> None:
        """Take in proposals and commit the jobs the search offers for free workers."""
        if self.error is not None:
            return
        self._tick()
        idle = self.search.pool.num_running == 0
        with self._to_its_end():
            self._newcomers.poll(wait_s=_IDLE_WAIT_S if idle else 0.0)
            self._commit()

    def _commit(self) -> None:
        free = self._capacity() - self.search.pool.num_running
        if not self._resume_paused:  # what a user's scheduler has paused is not ours to resume
            free += len(self.search.pool.owed)
        for job in self.search.next_jobs(free):
            if job.candidate_id not in self._trials:
                self.search.start(job)
                self._new.append(job)
            elif self._resume_paused:
                self.search.start(job)
                self._paused.append(job)

    def next_config(self, trial_id: str) -> TrialConfig | None:
        """Return what a new Tune trial is to do, or None if there is nothing new now."""
        self.advance()
        if not self._new:
            return None
        job = self._new.popleft()
        candidate = self.search.pool[job.candidate_id]
        self._candidates[trial_id] = candidate.id
        self._expected.add(trial_id)
        return TrialConfig(
            candidate_id=candidate.id,
            space=self.search.space.name,
            text=candidate.text,
            seed=self.search.trial_seed(candidate),
            from_epoch=candidate.epochs,
            report_epochs=self._report_epochs,
        )

    def next_paused(self) -> TuneTrial | None:
        """Return the paused Tune trial to resume now; Tune makes it PENDING at once."""
        self.advance()
        if not self._paused:
            return None
        trial = self._trials[self._paused.popleft().candidate_id]
        self._tell_epoch(trial)
        return trial

    @property
    def finished(self) -> bool:
        """Whether Tune should end: the search is over, or cannot go on."""
        if self.error is not None:
            return True
        if self._new or self._paused or self._newcomers.busy:
            return False
        if self._resume_paused:
            return self.search.finished
        return self.search.finished_but_for_owed

    # -- hearing -------------------------------------------------------------------------------

    def added(self, trial: TuneTrial) -> bool:
        """Hear that Tune will start a trial: a new one, or again one whose worker died.

        Returns:
            Whether it may. Tune starts a trial again also if the worker died while the trial was
            ending: then its last report has been heard, or another trial has its candidate.
        """
        candidate = self.search.pool[self.candidate_id(trial)]
        if trial.trial_id in self._expected:
            self._expected.remove(trial.trial_id)
            self._trials[candidate.id] = trial
        if self._trials.get(candidate.id) is not trial:
            return False
        if candidate.target is None:
            self._trials.pop(candidate.id)
            return False
        if not candidate.running:  # the worker died while a user's scheduler paused it
            self.resumed(trial)
        trial.run_metadata.num_failures = self._deaths[candidate.id]
        return True

    def resumed(self, trial: TuneTrial) -> None:
        """Hear that a user's scheduler resumes a trial it had paused."""
        candidate = self.search.pool[self.candidate_id(trial)]
        assert candidate.target is not None
        self.search.start(Job(candidate.id, candidate.text, candidate.epochs, candidate.target))
        self._tell_epoch(trial)

    def reported(self, trial: TuneTrial, result: dict[str, Any]) -> Decision:
        """Hear a result and say what becomes of the trial."""
        self._tick()
        candidate_id = self.candidate_id(trial)
        if self._trials.get(candidate_id) is not trial:
            return Decision.STOP  # given up or done before this came
        if "broken" in result:
            self.error = WorkerError(f"a worker cannot work:\n{result['broken']}")
            return Decision.STOP
        if "disk_full" in result:
            self.error = DiskFullError(result["disk_full"])
            return Decision.STOP
        self._deaths_in_a_row = 0
        self._nodes_lost.pop(candidate_id, None)
        if "notice" in result:
            self.notices.append(result["notice"])
        decision = Decision.STOP
        with self._to_its_end():
            decision = self._record(candidate_id, result)
            if decision is Decision.STOP:
                self._trials.pop(candidate_id, None)
            self._notify()
        return decision

    def _record(self, candidate_id: int, result: dict[str, Any]) -> Decision:
        if "failed" in result:
            return self.search.fail(candidate_id, result["failed"])
        prefix = "metrics/"
        metrics = {k[len(prefix) :]: v for k, v in result.items() if k.startswith(prefix)}
        return self.search.report(candidate_id, result["epoch"], metrics, result["train_s"])

    @contextmanager
    def _to_its_end(self) -> Iterator[None]:
        """Have the run end with what is raised; through Tune it would come out as another."""
        try:
            yield
        except RaynasError as error:
            self.error = self.error or error
        self.error = self.error or self.search.abort

    def died(self, trial: TuneTrial, *, given_up: bool, training: bool) -> None:
        """Hear that a trial's worker died; Tune may say so twice, and of trials that came later.

        Deaths in a row, with no report from anyone in between, are nobody's architecture's fault.
        Nor is the loss of a node, which takes many workers at once.

        Args:
            trial: Of which candidate.
            given_up: Whether Tune will not start it again.
            training: Whether it had begun.
        """
        self._tick()
        with self._to_its_end():
            candidate_id, reason = self.candidate_id(trial), _reason(trial)
            if self._trials.get(candidate_id) is not trial:
                return
            if self._is_new(reason):
                self._count(candidate_id, reason, training=training)
            deaths = self._deaths[candidate_id]
            trial.run_metadata.num_failures = deaths
            if not given_up:
                self._tell_epoch(trial)
            else:
                self._trials.pop(candidate_id, None)
                if deaths > trial.max_failures:
                    self.search.fail(candidate_id, f"its worker died too often: {reason}")
                else:  # it gets a new Tune trial
                    self.search.interrupt(candidate_id)
            self._notify()

    def _is_new(self, reason: str) -> bool:
        named = _ACTOR.search(reason)
        if named is None:
            return True
        known = named[1] in self._dead
        self._dead.add(named[1])
        return not known

    def _count(self, candidate_id: int, reason: str, *, training: bool) -> None:
        """Decide whose fault a death is; stop a run that does not get anywhere."""
        if lost_node(reason):
            self._nodes_lost[candidate_id] += 1
            if self._nodes_lost[candidate_id] > MOST_NODES_LOST:
                self.error = WorkerError(
                    f"{MOST_NODES_LOST + 1} nodes went in a row while they trained "
                    f"{self.search.pool[candidate_id].text}; the last:\n{reason}"
                )
            return
        self._deaths[candidate_id] += training
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= max(4, 2 * self._capacity()):
            self.error = WorkerError(
                f"{self._deaths_in_a_row} workers in a row died or did not start; the last:\n"
                f"{reason}"
            )

    def ended(self, trial: TuneTrial) -> None:
        """Hear that a user's scheduler ended a trial it had paused."""
        candidate = self.search.pool[self.candidate_id(trial)]
        if self._trials.get(candidate.id) is trial and candidate.target is not None:
            self.search.interrupt(candidate.id, owed=False)

    def candidate_id(self, trial: TuneTrial) -> int:
        """Return which candidate a Tune trial is."""
        return self._candidates[trial.trial_id]

    def _tell_epoch(self, trial: TuneTrial) -> None:
        trial.config["from_epoch"] = self.search.pool[self.candidate_id(trial)].epochs

    def _tick(self) -> None:
        self.search.pool.elapsed_s = time.monotonic() - self._started_at


def _reason(trial: TuneTrial) -> str:
    """Return the latest error of a trial, as Tune has just written it down on this machine."""
    path = trial.error_file
    if path is None or not Path(path).exists():
        return "no reason known"
    return Path(path).read_text().rpartition("Failure # ")[2].partition("\n")[2].strip()
