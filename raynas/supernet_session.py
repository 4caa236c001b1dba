"""One session of a supernet run: from nothing, or from a checkpoint, to an end or a stop."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raynas.errors import ConfigError, DiskFullError, TrialError
from raynas.runs.folder import RunFolder
from raynas.runs.supernet_books import saved_steps
from raynas.runs.supernet_journal import SupernetLog, read_supernet_journal
from raynas.runs.supernet_loop import Ending, Place, run_program
from raynas.runs.supernet_views import SupernetViews
from raynas.selection.scoring import Request, local_scorer
from raynas.spaces.architecture import Architecture
from raynas.storage import Location, StorePath
from raynas.supernet_config import SupernetConfig, WorkersConfig
from raynas.supernet_setup import SupernetJob, SupernetParts, set_up_supernet
from raynas.supernets.candidates import BatchScores
from raynas.supernets.workers import Alone

if TYPE_CHECKING:
    from raynas.engine.supernet_job import SupernetOptions

SupernetListener = Callable[[SupernetLog], None]
"""Hears of every change while a supernet run goes on; maybe from another thread."""

_TRAINING_SHARE = 0.6
"""Of a GPU, where evaluators need the rest. Above a half, so that no two workers share one."""


@dataclass(frozen=True, slots=True)
class SupernetResult:
    """What a supernet run came to.

    Attributes:
        architecture: What was selected (None: not finished).
        finished: False if it was interrupted and can be resumed.
        log: Every epoch and every decision.
        folder: The run folder.
        literal: The architecture as the published literal, where the space has one.
        notices: What workers had to say that is no error.
    """

    architecture: Architecture | None
    finished: bool
    log: SupernetLog
    folder: Location
    literal: str | None = None
    notices: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        epochs = self.log.epochs
        return {
            "architecture": self.architecture.text if self.architecture else None,
            "genotype": self.literal,
            "finished": self.finished,
            "search_epochs": sum(step["phase"] == "search" for step in epochs),
            "tuning_epochs": sum(step["phase"] == "select" for step in epochs),
            "decisions": len(self.log.decisions),
            "supernet_accuracy": epochs[-1]["metrics"]["accuracy"] if epochs else None,
            "elapsed_s": round(self.log.elapsed_s, 3),
            "folder": str(self.folder),
        }


class SupernetSession:
    """One session of a supernet run.

    Args:
        config: The checked config.
        parts: A user's own objects.
        folder: Where to.
        listener: Hears of every change.
        resumed: Whether the folder holds the run already.
    """

    def __init__(
        self,
        config: SupernetConfig,
        parts: SupernetParts,
        folder: RunFolder,
        listener: SupernetListener | None,
        *,
        resumed: bool = False,
    ) -> None:
        self._config = config
        self._parts = parts
        self._folder = folder
        self._listener = listener
        self._resumed = resumed

    def run(self, engine: str, address: str | None) -> SupernetResult:
        """Run it on `engine` until it is finished or interrupted.

        Raises:
            UsageError: something asked for cannot be done; nothing was written.
            TrialError: training diverged, or ran out of memory.
            WorkerError: workers cannot work.
        """
        if engine not in ("ray", "local"):
            raise ConfigError(f"engine: {engine!r} must be 'ray' or 'local'")
        if not self._resumed:
            self._folder.check_free()
        begun = self._resumed and bool(saved_steps(self._folder.checkpoints))
        # Whatever there is to complain of, before Ray is started.
        job, facts = set_up_supernet(self._config, self._parts, begun=begun)
        if self._resumed and self._folder.read_manifest().get("finished"):
            return self._run(job, facts, lambda job, follow: Ending())  # makes the views anew
        if engine == "local":
            return self._run(job, facts, self._drive_here)
        from raynas.engine.session import Resources, capacity, connected, has_gpus

        asked = self._config.resources
        workers = self._config.workers
        cpus = asked.cpus or _cores_each(address, workers)
        with connected(address, workers, Resources(cpus, asked.gpus or 0.0)) as local:
            shares = _shared_out(asked, has_gpus(), job.needs_scores)
            options = self._options(cpus, shares, job.needs_scores)
            each = Resources(options.cpus, options.gpus)
            if local and capacity(each) < workers:
                raise ConfigError(
                    f"workers: {workers} of {each.cpus:g} CPU and {each.gpus:g} GPU each, but "
                    f"this machine has room for {capacity(each)}"
                )
            sent = job if options.gpus else job.without_gpus()

            def drive(_: SupernetJob, follow: Callable[[], object]) -> Ending | None:
                from raynas.engine.supernet_job import run_supernet

                return run_supernet(sent, options, notify=follow)

            return self._run(sent, facts, drive)

    def _options(
        self, cpus: float, shares: tuple[float, float], needs_scores: bool
    ) -> "SupernetOptions":
        from raynas.engine.supernet_job import SupernetOptions

        gpus, evaluator_gpus = shares
        workers = self._config.workers
        default = workers if gpus else max(1, math.floor(workers * cpus))
        evaluators = self._config.resources.evaluators or default
        if self._config.resources.evaluator_gpus is None:
            evaluator_gpus = math.floor(100 * evaluator_gpus * workers / evaluators) / 100
        return SupernetOptions(
            folder=self._folder.location,
            keep=self._config.checkpoints,
            workers=workers,
            cpus=cpus,
            gpus=gpus,
            evaluators=evaluators if needs_scores else 0,
            evaluator_gpus=evaluator_gpus,
        )

    def _drive_here(self, job: SupernetJob, follow: Callable[[], object]) -> Ending | None:
        """Run it in this process, without Ray."""
        program = job.program(Alone())
        keep = self._config.checkpoints
        place = Place(self._folder.location, keep, session=f"local {os.getpid()}")
        try:
            return run_program(
                program, Alone(), _Here(program), place, lambda record, checkpoint: follow()
            )
        except KeyboardInterrupt:
            return None

    def _run(
        self,
        job: SupernetJob,
        facts: dict[str, Any],
        drive: Callable[[SupernetJob, Callable[[], object]], Ending | None],
    ) -> SupernetResult:
        with self._folder.in_need_of_room():
            if self._resumed:
                self._folder.lock()
            else:
                self._folder.create(
                    self._config.model_dump(mode="json"),
                    {
                        "seed": self._config.seed,
                        **facts,
                        "own_parts": self._parts.given(),
                    },
                )
            follower = _Follower(self._folder, job, self._about(facts), self._listener)
            try:
                try:
                    ending = drive(job, follower.follow)
                finally:
                    log = follower.follow(force=True)
                if ending is not None and ending.disk_full is not None:
                    raise DiskFullError(ending.disk_full)
                failed = ending is not None and ending.failure is not None
                finished = ending is not None and not failed
                self._folder.note(finished=finished)
            finally:
                self._folder.unlock()
            if ending is not None and ending.failure is not None:
                raise TrialError(_with_checkpoint(ending.failure, log, self._folder))
            return self._result(job, log, finished)

    def _result(self, job: SupernetJob, log: SupernetLog, finished: bool) -> SupernetResult:
        text = log.architecture if finished else None
        notices = log.sessions[-1]["notices"] if log.sessions else []
        return SupernetResult(
            architecture=None if text is None else job.space.parse(text),
            finished=finished,
            log=log,
            folder=self._folder.location,
            literal=None if text is None else literal(job, text),
            notices=list(notices),
        )

    def _about(self, facts: dict[str, Any]) -> dict[str, Any]:
        config = self._config
        return {
            "space": config.space.model_dump(),
            "task": facts["task"],
            "data": config.data.name,
            "method": config.method.model_dump(),
            "selection": config.selection.model_dump(),
            "seed": config.seed,
        }


class _Follower:
    """Keeps views and listener up to what the journal says."""

    def __init__(
        self,
        folder: RunFolder,
        job: SupernetJob,
        about: dict[str, Any],
        listener: SupernetListener | None,
    ) -> None:
        self._folder = folder
        self._listener = listener
        self._log = SupernetLog()
        self._seen: object = None

        def describe(text: str) -> dict[str, Any]:
            return {"genotype": literal(job, text), **about}

        self._views = SupernetViews(folder, job.space.kinds, describe)

    def follow(self, *, force: bool = False) -> SupernetLog:
        """Read on, if there is anything new; write the views all the same if `force`."""
        path = self._folder.written_journal
        seen = _stamp(path)
        if seen != self._seen:
            self._seen = seen
            self._log, _ = read_supernet_journal(path)
            self._views.refresh(self._log)
            if self._listener is not None:
                self._listener(self._log)
        if force:
            self._views.refresh(self._log, force=True)
        return self._log


def _stamp(path: Location) -> object:
    """Return what tells one content of a file from the next; None if it is not there."""
    if isinstance(path, StorePath):
        return path.version()
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


class _Here:
    """Scores candidates in this process."""

    def __init__(self, program: Any) -> None:
        self._score = local_scorer(program.training)

    def __call__(self, request: Request) -> BatchScores:
        return self._score(request)

    def begin(self) -> None:
        pass

    def took_part(self) -> list[str]:
        return [f"local:{os.getpid()}"]


def literal(job: SupernetJob, text: str) -> str | None:
    """Return an architecture as the published literal, where its space has one."""
    genotype = getattr(job.space, "genotype", None)
    return None if genotype is None else repr(genotype(job.space.parse(text)))


def _with_checkpoint(failure: str, log: SupernetLog, folder: RunFolder) -> str:
    checkpoint = (log.failure or {}).get("checkpoint")
    if checkpoint is None:
        return f"{failure}; there is no checkpoint yet"
    return f"{failure}; the last good checkpoint is {folder.location / checkpoint}"


def _cores_each(address: str | None, workers: int) -> float:
    """Return the cores of a training worker: on this machine its share, elsewhere one."""
    if address or os.environ.get("RAY_ADDRESS"):
        return 1.0
    return float(max(1, (os.cpu_count() or 1) // workers))


def _shared_out(asked: WorkersConfig, there: bool, needs_scores: bool) -> tuple[float, float]:
    """Return the GPUs of a training worker, and what it leaves to evaluators."""
    given = asked.gpus
    if given is None:
        given = 0.0 if not there else _TRAINING_SHARE if needs_scores else 1.0
    if asked.evaluator_gpus is not None:
        return given, asked.evaluator_gpus
    if given >= 1 and needs_scores:
        raise ConfigError(
            f"resources.gpus: {given:g} leaves evaluators nothing of the GPU: less than 1, or give "
            "resources.evaluator_gpus"
        )
    return given, max(0.0, 1.0 - given) if given else 0.0
