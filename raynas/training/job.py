"""A network trained in full: epoch by epoch with a checkpoint, and at the very end a report.

`raynas retrain` runs one such job for each architecture and seed. The checkpoint holds the metrics
of its epochs too, so what was trained but never heard of is told, not repeated. The test part is
first read when the last epoch is done.
"""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from raynas.errors import CheckpointError
from raynas.networks.cost import flops, num_params
from raynas.scheduling.events import Metrics
from raynas.spaces.architecture import Architecture
from raynas.storage import Location
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
from raynas.training.evaluation import confusion_matrix, evaluate
from raynas.training.learner import auxiliary_of
from raynas.training.loop import NetworkTrial
from raynas.training.objective import TrainingObjective
from raynas.training.replicas import Replicas

_AUXILIARY = "auxiliary."


@dataclass(frozen=True, slots=True)
class Job:
    """One network to train in full.

    Attributes:
        id: Number of the job, from 0; its files are named by it.
        architecture: Number of the architecture, from 0.
        text: Its canonical text.
        repetition: Number of the seed, from 0.
        seed: Decides weights, order and augmentation.
    """

    id: int
    architecture: int
    text: str
    repetition: int
    seed: int


@dataclass(frozen=True, slots=True)
class Trained:
    """An epoch is done and its checkpoint written."""

    job: int
    epoch: int
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Finished:
    """A job is done, weights and report.

    Attributes:
        job: Its id.
        part: What the figures are of: ``test`` or ``valid``.
        accuracy: Fraction classified right by the network of the last epoch.
        loss: Mean cross-entropy.
        confusion: Rows of counts, by true class, then by predicted class.
        num_params: Parameters, without an auxiliary classifier.
        flops: Multiply-accumulates for one image.
    """

    job: int
    part: str
    accuracy: float
    loss: float
    confusion: list[list[int]]
    num_params: int
    flops: int


@dataclass(frozen=True, slots=True)
class JobFailed:
    """Training failed for a reason of the network's own."""

    job: int
    error: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell that is no error."""

    job: int
    text: str


Reply = Trained | Finished | JobFailed | Notice
"""What is heard of a job."""


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where a job's files lie in the folder of checkpoints; named by id, never by user text."""

    folder: Location
    id: int

    @property
    def checkpoint(self) -> Location:
        """The state of training after the latest epoch."""
        return self.folder / f"{self.id:06d}.pt"

    @property
    def network(self) -> Location:
        """The weights that are delivered; written when the job is done."""
        return self.folder / f"{self.id:06d}-final.pt"


class RunningJob:
    """A job under way in this process, taken up where its checkpoint left it.

    Args:
        objective: Builds and trains networks.
        job: What to train.
        folder: Where the checkpoints are.
        replicas: This process among those that train the network together.

    Attributes:
        notice: Why a checkpoint could not be used, if so.
    """

    def __init__(
        self,
        objective: TrainingObjective,
        job: Job,
        folder: Location,
        replicas: Replicas | None = None,
    ) -> None:
        self.notice: str | None = None
        self._objective = objective
        self._job = job
        self._replicas = replicas or Replicas()
        self._files = JobFiles(folder, job.id)
        self._trial = self._start()
        if self._files.checkpoint.exists():
            try:
                self._trial.load(load_checkpoint(self._files.checkpoint)["state"])
            except (CheckpointError, KeyError) as error:
                self.notice = f"{self._files.checkpoint}: {error}; trained again from the start"
                self._trial = self._start()

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._trial.epoch

    @property
    def done(self) -> bool:
        """Whether all epochs are."""
        return self.epoch == self._objective.training.full_epochs

    @property
    def history(self) -> list[Trained]:
        """The epochs done."""
        return [Trained(self._job.id, e, dict(m)) for e, m in self._trial.history.items()]

    def train(self) -> Trained:
        """Train one epoch and write the checkpoint.

        Raises:
            TrialError: the network cannot be trained.
        """
        epoch = self.epoch + 1
        self._trial.train(epoch)
        if self._replicas.is_first:
            save_checkpoint(self._files.checkpoint, {"state": self._trial.save()})
        return Trained(self._job.id, epoch, dict(self._trial.history[epoch]))

    def finish(self) -> Finished:
        """Look at the final part for the first time, and write the weights that are delivered."""
        trial, training = self._trial, self._objective.training
        placement = training.placement()
        part_name, part = self._objective.final_part(placement.device)
        data = self._objective.splits(placement.device)
        size = training.valid_batch_size
        network = trial.delivered
        found = evaluate(network, data, part, placement, batch_size=size)
        confusion = confusion_matrix(network, data, part, placement, batch_size=size)
        auxiliary = auxiliary_of(network)
        state = trial.save()
        weights = state["ema"]["network"] if "ema" in state else state["network"]
        delivered = {k: v for k, v in weights.items() if not k.startswith(_AUXILIARY)}
        save_checkpoint(
            self._files.network,
            {"state": {"network": delivered if auxiliary is not None else weights}},
        )
        return Finished(
            job=self._job.id,
            part=part_name,
            accuracy=found.accuracy,
            loss=found.loss,
            confusion=confusion.tolist(),
            num_params=num_params(network) - (num_params(auxiliary) if auxiliary else 0),
            flops=flops(network, data.task),
        )

    def _start(self) -> NetworkTrial:
        architecture = Architecture(self._objective.space.name, self._job.text)
        return self._objective.start(architecture, self._job.seed, self._replicas)


def run_here(
    jobs: Sequence[Job], objective: TrainingObjective, folder: Location
) -> Iterator[Reply]:
    """Run jobs one after the other in this process; yields what is heard of them."""
    objective.prepare()
    for job in jobs:
        try:
            running = RunningJob(objective, job, folder)
            if running.notice is not None:
                yield Notice(job.id, running.notice)
            yield from running.history
            while not running.done:
                yield running.train()
            yield running.finish()
        except OSError:  # disk full, folder gone: every other network would meet it too
            raise
        except Exception:
            yield JobFailed(job.id, traceback.format_exc())
