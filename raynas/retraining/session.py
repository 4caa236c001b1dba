"""One session of a retraining: from nothing, or from what is on disk, to its end or a Ctrl-C."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raynas.config import validate
from raynas.errors import ConfigError, DataError, RunFolderError, SpaceError
from raynas.retraining.config import RetrainConfig
from raynas.retraining.journal import RetrainJournal, heard, read_retraining
from raynas.retraining.records import Records, choose, make_jobs, summarise
from raynas.retraining.sources import make_space
from raynas.retraining.views import RetrainViews
from raynas.runs.folder import RunFolder
from raynas.spaces.architecture import Architecture
from raynas.storage import Location
from raynas.training.data import make_spec
from raynas.training.job import Job, Notice, Reply, run_here
from raynas.training.objective import TrainingObjective
from raynas.training.recipe import TrainingConfig

Listener = Callable[[Records, RetrainConfig], None]
"""Hears of every change while networks train."""

Drive = Callable[[Sequence[Job], TrainingObjective], Iterator[Reply]]
"""Runs jobs on an engine; yields what is heard of them."""


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """What a retraining gave.

    Attributes:
        folder: The run folder.
        finished: False if it was interrupted and can be resumed.
        summary: A row for each architecture: means and deviations over seeds.
        best: The network to deliver, as in `best.json`; None if no job finished.
        records: Every job with all that is known of it.
        failures: Why jobs failed, one line each.
        notices: What is no error.
    """

    folder: Location
    finished: bool
    summary: list[dict[str, Any]]
    best: str | None
    records: Records
    failures: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "folder": str(self.folder),
            "finished": self.finished,
            "architectures": self.summary,
            "best": self.best,
            "epochs": self.records.epochs,
            "num_failed": self.records.num_failed,
            "elapsed_s": round(self.records.elapsed_s, 3),
        }


def make_objective(config: RetrainConfig) -> TrainingObjective:
    """Return what trains and judges networks; reads no data.

    Raises:
        UsageError: a space, data set or setting that is not there or out of range.
    """
    if "full_epochs" in config.training:
        raise ConfigError("training.full_epochs: is `epochs`; set that instead")
    # A worker that holds no GPU must not use one that Ray gave to another.
    placed = {} if config.resources.gpus else {"device": "cpu"}
    options = {**placed, **config.training, "full_epochs": config.epochs}
    training = validate(TrainingConfig, options, where="training.")
    spec = make_spec(config.data.name, **config.data.options)
    objective = TrainingObjective(make_space(config.space), spec, training)
    objective.check()
    return objective


def check(config: RetrainConfig, objective: TrainingObjective) -> dict[str, Any]:
    """Find what else a user can have got wrong, before anything is started; loads the data.

    Returns:
        What the manifest says of the data.

    Raises:
        UsageError: the data is malformed or does not fit the networks.
    """
    facts = objective.facts()
    if not facts["valid_images"] and not objective.has_test:
        raise DataError(
            f"{config.data.name}: all is trained on and there is no test part, so nothing is left "
            "to report on (data.test_fraction, or training.train_on=train)"
        )
    least = 2 * config.workers_per_network
    smallest = min(objective.training.batch_size, facts["train_images"])
    if smallest < least:
        raise ConfigError(
            f"training.batch_size: batches of {smallest} are too small for "
            f"{config.workers_per_network} workers: each needs two images"
        )
    for one in config.architectures:
        try:
            objective.space.build(Architecture(objective.space.name, one.text), objective.task)
        except SpaceError as error:
            hint = (
                " (in a retraining, by training.auxiliary_weight=0)"
                if "auxiliary" in str(error)
                else ""
            )
            raise SpaceError(f"{one.label}: {error}{hint}") from None
    return facts


class RetrainSession:
    """One session of a retraining.

    Args:
        config: What is asked.
        folder: Where it goes, or is.
        listener: Hears of every change.
        resumed: Whether the folder holds it already.
    """

    def __init__(
        self,
        config: RetrainConfig,
        folder: RunFolder,
        listener: Listener | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self._config = config
        self._folder = folder
        self._listener = listener
        self._resumed = resumed
        self._objective = make_objective(config)

    def run(self, engine: str, address: str | None) -> RetrainResult:
        """Train on `engine` (``ray``, or ``inline``: here, one job after the other)."""
        if engine == "inline":
            if self._config.workers_per_network > 1:
                raise ConfigError("workers_per_network: only Ray trains one network on several")
            facts = check(self._config, self._objective)
            return self._run(facts, lambda jobs, it: run_here(jobs, it, self._folder.checkpoints))
        if engine != "ray":
            raise ConfigError(f"engine: {engine!r} must be 'ray' or 'inline'")
        facts = check(self._config, self._objective)  # complain before Ray is started
        if self._resumed and not self._records(read_retraining(self._folder.journal)[0]).open:
            return self._run(facts, lambda jobs, it: iter(()))  # makes the views anew
        from raynas.engine.retrain_run import RetrainOptions, run_jobs
        from raynas.engine.session import Resources, connected, has_gpus

        asked, per_network = self._config.resources, self._config.workers_per_network
        resources = Resources(asked.cpus, asked.gpus or 0.0)
        wide = None if self._config.workers is None else self._config.workers * per_network
        with connected(address, wide or per_network, resources):
            if asked.gpus is None:
                resources = Resources(asked.cpus, float(has_gpus()))
                resolved = asked.model_copy(update={"gpus": resources.gpus})
                self._config = self._config.model_copy(update={"resources": resolved})
                self._objective = make_objective(self._config)
            options = RetrainOptions(
                self._folder.location.resolve(), resources, self._config.workers, per_network
            )
            return self._run(facts, lambda jobs, it: run_jobs(jobs, it, options))

    def _records(self, history: list[tuple[Reply, float]]) -> Records:
        """Return what a journal says of all jobs that are asked for."""
        texts = [one.text for one in self._config.architectures]
        records = Records(make_jobs(texts, self._config.seeds, self._config.seed))
        heard(records, history, self._folder.journal)
        return records

    def _run(self, facts: dict[str, Any], drive: Drive) -> RetrainResult:
        with self._folder.in_need_of_room():
            if self._resumed:
                self._folder.lock()
            else:
                given = {"seed": self._config.seed, "data": facts}
                self._folder.create(self._config.model_dump(mode="json"), given)
            try:
                self._check_data(facts)
                # Read under the lock: whoever held it until now may just have written.
                history, size = read_retraining(self._folder.journal)
                with RetrainJournal(self._folder.journal, size) as journal:
                    return self._train(facts, drive, journal, history)
            finally:
                self._folder.unlock()

    def _check_data(self, facts: dict[str, Any]) -> None:
        before = self._folder.read_manifest().get("data", {}).get("fingerprint")
        if before != facts["fingerprint"]:
            raise RunFolderError(
                f"{self._folder} began with other data: {self._config.data.name} has changed"
            )

    def _train(
        self,
        facts: dict[str, Any],
        drive: Drive,
        journal: RetrainJournal,
        history: list[tuple[Reply, float]],
    ) -> RetrainResult:
        config = self._config
        records = self._records(history)
        views = RetrainViews(self._folder, config, self._objective.training, records, facts)
        notices: list[str] = []
        started = time.monotonic() - records.elapsed_s
        interrupted = False
        self._tell(records)
        try:
            for reply in drive(records.open, self._objective):
                records.elapsed_s = time.monotonic() - started
                if isinstance(reply, Notice):
                    notices.append(reply.text)
                elif records.hear(reply):
                    journal.append(reply, records.elapsed_s)
                views.refresh()
                self._tell(records)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            views.refresh(force=True)
        finished = not records.open
        self._folder.note(finished=finished)
        chosen = choose(records)
        failures = [
            f"{views.labels[r.job.architecture]}, seed {r.job.repetition}: {_last_line(r.error)}"
            for r in records
            if r.error is not None
        ]
        assert finished or interrupted, "the engine left jobs undone"
        return RetrainResult(
            folder=self._folder.location,
            finished=finished,
            summary=summarise(records, views.labels),
            best=views.labels[chosen[0].job.architecture] if chosen else None,
            records=records,
            failures=failures,
            notices=notices,
        )

    def _tell(self, records: Records) -> None:
        if self._listener is not None:
            self._listener(records, self._config)


def _last_line(error: str) -> str:
    """Return what a traceback says in its last line."""
    return error.strip().splitlines()[-1] if error.strip() else "no reason given"
