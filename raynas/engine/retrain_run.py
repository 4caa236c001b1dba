"""Full trainings side by side on Ray: long-lived actors, one job an actor at a time.

One call to an actor is one epoch, so the driver hears of every epoch, and a lost worker or driver
costs at most the one in flight: the checkpoint is the job's own (`raynas.training.job`).
"""

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle

from raynas.engine.losses import MOST_NODES_LOST, lost_node
from raynas.engine.session import Resources, capacity
from raynas.errors import DiskFullError, WorkerError
from raynas.storage import Location
from raynas.training.job import (
    Finished,
    Job,
    JobFailed,
    Notice,
    Reply,
    RunningJob,
    Trained,
)
from raynas.training.objective import TrainingObjective

_CAPACITY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class RetrainOptions:
    """Where and how wide to train.

    Attributes:
        folder: The run folder, reachable by every worker.
        resources: What each worker holds.
        workers: Networks side by side (None: as many as fit).
        workers_per_network: Workers that share one network's batches.
        max_worker_deaths: How often a worker may die on one job, or in a row on any, with nothing
            trained in between.
    """

    folder: Location
    resources: Resources
    workers: int | None = None
    workers_per_network: int = 1
    max_worker_deaths: int = 3

    @property
    def checkpoints(self) -> Location:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    def width(self) -> int:
        """Return how many networks may train side by side now."""
        if self.workers is not None:
            return self.workers
        return max(1, capacity(self.resources) // self.workers_per_network)


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker that cannot work, through no fault of a network.

    Attributes:
        error: Why.
        disk_full: Whether it is for want of room on a disk.
    """

    error: str
    disk_full: bool = False

    def as_error(self) -> DiskFullError | WorkerError:
        """Return what the run ends with."""
        if self.disk_full:
            return DiskFullError(self.error)
        return WorkerError(f"a worker cannot work:\n{self.error}")


def run_jobs(
    jobs: Sequence[Job], objective: TrainingObjective, options: RetrainOptions
) -> Iterator[Reply]:
    """Train all jobs on the connected Ray; yields what is heard of them, as it is heard.

    Args:
        jobs: What to train; what has a checkpoint goes on from there.
        objective: Builds and trains networks; pickled once to every worker.
        options: Where and how wide.

    Raises:
        WorkerError: no worker can work.
    """
    if options.workers_per_network > 1:
        from raynas.engine.retrain_together import TogetherFleet

        fleet: Fleet = TogetherFleet(objective, options)
    else:
        fleet = ActorFleet(objective, options)
    try:
        yield from _run(deque(jobs), fleet, options)
    finally:
        fleet.close()


class Fleet:
    """Workers that take jobs; a subclass says how they work."""

    def start(self, job: Job) -> None:
        """Set a worker on a job."""
        raise NotImplementedError

    def poll(self, wait_s: float) -> list[Reply | tuple[Job, str] | Broken]:
        """Return what has been heard, waiting at most `wait_s` for something.

        A pair is a job whose worker died, and how.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End all workers."""
        raise NotImplementedError


def _run(waiting: deque[Job], fleet: Fleet, options: RetrainOptions) -> Iterator[Reply]:
    width = _Throttled(options.width)
    blame = _Blame(options.max_worker_deaths, width)
    running: dict[int, Job] = {}
    while waiting or running:
        while waiting and len(running) < width():
            job = waiting.popleft()
            running[job.id] = job
            fleet.start(job)
        for heard in fleet.poll(_CAPACITY_EVERY_S):
            if isinstance(heard, Broken):
                raise heard.as_error()
            if isinstance(heard, tuple):
                job, how = heard
                failure = blame.died(job, how)
                if failure is None:
                    fleet.start(job)
                    continue
                heard = failure
            if isinstance(heard, Finished | JobFailed):
                running.pop(heard.job, None)
            if isinstance(heard, Finished | Trained):
                blame.worked()
            yield heard


class _Blame:
    """Decides whose fault it is that workers die.

    Args:
        most: How often they may, on one job or in a row.
        width: Returns how many jobs one node that goes may take with it.
    """

    def __init__(self, most: int, width: Callable[[], int]) -> None:
        self._most = most
        self._width = width
        self._in_a_row = 0
        self._by_job: Counter[int] = Counter()
        self._nodes_lost = 0

    def worked(self) -> None:
        """Hear that something was trained."""
        self._in_a_row = 0
        self._nodes_lost = 0

    def died(self, job: Job, how: str) -> JobFailed | None:
        """Hear that a job's worker died; None: start it again.

        Raises:
            WorkerError: too many died with nothing trained in between.
        """
        if lost_node(how):  # which takes many workers at once, whatever they train
            self._nodes_lost += 1
            if self._nodes_lost > MOST_NODES_LOST * self._width():
                raise WorkerError(f"nodes go before anything is trained, at last:\n{how}")
            return None
        self._in_a_row += 1
        self._by_job[job.id] += 1
        if self._in_a_row > self._most:
            raise WorkerError(f"workers died {self._in_a_row} times in a row, at last:\n{how}")
        if self._by_job[job.id] > self._most:
            return JobFailed(job.id, f"its worker died {self._by_job[job.id]} times: {how}")
        return None


class _Throttled:
    """Asks a function at most every few seconds."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._known = 0
        self._asked_at = -_CAPACITY_EVERY_S

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self._asked_at >= _CAPACITY_EVERY_S:
            self._known, self._asked_at = self._ask(), now
        return self._known


# -- one worker a network --------------------------------------------------------------------------


class NetworkActor:
    """Trains one job after another in a process of its own.

    Args:
        objective: A pickled `TrainingObjective`.
        folder: Folder of the checkpoints.
    """

    def __init__(self, objective: bytes, folder: Location) -> None:
        self._folder = folder
        self._broken: str | None = None
        self._running: RunningJob | None = None
        try:
            self._objective: TrainingObjective = cloudpickle.loads(objective)
            self._objective.prepare()
        except Exception:
            self._broken = traceback.format_exc()

    def begin(self, job: Job) -> list[Reply | Broken]:
        """Take up a job; tells of the epochs that its checkpoint holds."""
        if self._broken is not None:
            return [Broken(self._broken)]
        return self._guarded(job.id, lambda: self._open(job))

    def step(self, job_id: int) -> list[Reply | Broken]:
        """Train the next epoch, or report at the end."""
        return self._guarded(job_id, self._advance)

    def _open(self, job: Job) -> list[Reply]:
        self._running = RunningJob(self._objective, job, self._folder)
        notice = self._running.notice
        told: list[Reply] = [] if notice is None else [Notice(job.id, notice)]
        return [*told, *self._running.history]

    def _advance(self) -> list[Reply]:
        assert self._running is not None
        return [self._running.finish() if self._running.done else self._running.train()]

    def _guarded(self, job_id: int, work: Callable[[], list[Reply]]) -> list[Reply | Broken]:
        try:
            return [*work()]
        except DiskFullError as error:
            return [Broken(str(error), disk_full=True)]
        except OSError:  # folder gone, device broken: every other network would meet it too
            return [Broken(traceback.format_exc())]
        except Exception:
            return [JobFailed(job_id, traceback.format_exc())]


class ActorFleet(Fleet):
    """An actor for each network that trains; kept for the next job."""

    def __init__(self, objective: TrainingObjective, options: RetrainOptions) -> None:
        self._objective = cloudpickle.dumps(objective)
        self._options = options
        self._idle: list[Any] = []
        self._calls: dict[Any, tuple[Any, Job]] = {}

    def start(self, job: Job) -> None:
        """Set an idle actor, or a new one, on a job."""
        actor = self._idle.pop() if self._idle else self._new()
        self._calls[actor.begin.remote(job)] = actor, job

    def poll(self, wait_s: float) -> list[Reply | tuple[Job, str] | Broken]:
        """Take in finished calls and make the next ones."""
        ready, _ = ray.wait(list(self._calls), timeout=wait_s)
        heard: list[Reply | tuple[Job, str] | Broken] = []
        for call in ready:
            actor, job = self._calls.pop(call)
            try:
                replies = ray.get(call)
            except ray.exceptions.RayActorError as error:
                heard.append((job, str(error)))
                continue
            if replies and isinstance(replies[-1], Finished | JobFailed | Broken):
                self._idle.append(actor)
            else:  # before anybody acts on the replies: the worker need not wait for that
                self._calls[actor.step.remote(job.id)] = actor, job
            heard += replies
        return heard

    def close(self) -> None:
        """End all actors."""
        for actor in [*self._idle, *(actor for actor, _ in self._calls.values())]:
            ray.kill(actor)
        self._idle, self._calls = [], {}

    def _new(self) -> Any:
        remote: Any = ray.remote  # its overloads know no options given as a mapping
        held = self._options.resources
        # Zero restarts: a new actor is made, which takes up the job from its checkpoint.
        actor = remote(num_cpus=held.cpus, num_gpus=held.gpus, max_restarts=0)(NetworkActor)
        return actor.remote(self._objective, self._options.checkpoints)
