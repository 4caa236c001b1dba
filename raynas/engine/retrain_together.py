"""Several workers for one network: a Ray Train job (TorchTrainer, DDP) for each that trains.

Every worker holds the data and takes its share of each batch. The first writes the checkpoint and
tells the driver, through an actor, what is done. Failures are ours to handle, not Ray Train's: a
network that cannot be trained fails once; a lost worker starts the job anew from its checkpoint.
"""

import traceback
from typing import Any

import ray
from ray import cloudpickle

from raynas.engine.losses import beside_the_driver
from raynas.engine.retrain_run import Broken, Fleet, RetrainOptions
from raynas.engine.storage import as_storage
from raynas.errors import DiskFullError
from raynas.storage import remove_tree
from raynas.training.job import Finished, Job, JobFailed, Notice, Reply, RunningJob
from raynas.training.objective import TrainingObjective
from raynas.training.replicas import Replicas

_LISTEN_EVERY_S = 0.5


class Ear:
    """Keeps what first workers tell until the driver asks."""

    def __init__(self) -> None:
        self._heard: list[Reply | Broken] = []

    def hear(self, replies: list[Reply | Broken]) -> None:
        """Take in what a worker tells."""
        self._heard += replies

    def take(self) -> list[Reply | Broken]:
        """Return what was heard since the last time."""
        heard, self._heard = self._heard, []
        return heard


class TogetherFleet(Fleet):
    """A Ray Train job for each network that trains."""

    def __init__(self, objective: TrainingObjective, options: RetrainOptions) -> None:
        self._objective = cloudpickle.dumps(objective)
        self._options = options
        remote: Any = ray.remote
        here = beside_the_driver()  # other nodes may go, and with them what was heard
        self._ear = remote(num_cpus=0, **here)(Ear).remote()
        self._fit = remote(num_cpus=0, max_retries=0, **here)(_fit)
        self._fits: dict[Any, Job] = {}
        self._closed: set[int] = set()

    def start(self, job: Job) -> None:
        """Begin a Ray Train job."""
        told = {"objective": self._objective, "job": job, "ear": self._ear}
        self._fits[self._fit.remote(told, self._options)] = job

    def poll(self, wait_s: float) -> list[Reply | tuple[Job, str] | Broken]:
        """Take in what first workers told, and which jobs have ended."""
        ready, _ = ray.wait(list(self._fits), timeout=min(wait_s, _LISTEN_EVERY_S))
        heard: list[Reply | tuple[Job, str] | Broken] = [*ray.get(self._ear.take.remote())]
        self._closed |= {r.job for r in heard if isinstance(r, Finished | JobFailed)}
        for fit in ready:
            job = self._fits.pop(fit)
            if job.id not in self._closed:
                heard.append((job, _why(fit)))
        return heard

    def close(self) -> None:
        """End all jobs."""
        for fit in self._fits:
            ray.cancel(fit, force=True)
        ray.kill(self._ear)
        self._fits = {}


def _why(fit: Any) -> str:
    try:
        return f"the job ended without a report: {ray.get(fit)}"
    except ray.exceptions.RayError as error:
        return str(error)


def _fit(told: dict[str, Any], options: RetrainOptions) -> str:
    """Run one Ray Train job to its end, and say how it ended."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    scratch = options.folder / "train" / f"{told['job'].id:06d}"
    trainer = TorchTrainer(
        _train_together,
        train_loop_config={**told, "folder": options.checkpoints},
        scaling_config=ScalingConfig(
            num_workers=options.workers_per_network,
            use_gpu=options.resources.gpus > 0,
            resources_per_worker=options.resources.as_bundle(),
        ),
        run_config=RunConfig(
            name=f"{told['job'].id:06d}",
            **as_storage(scratch),
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    try:
        trainer.fit()
    except Exception:  # whatever ends a Ray Train job; the driver decides what it means
        return traceback.format_exc()
    finally:
        remove_tree(scratch)
    return "no error"


def _train_together(told: dict[str, Any]) -> None:
    """Be one of the workers of a network."""
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    device = get_device()
    if device.type == "cuda":  # Ray Train lets every worker of a machine see all of its GPUs
        torch.cuda.set_device(device)
    context = get_context()
    worker = _Worker(told, Replicas(context.get_world_rank(), context.get_world_size()))
    worker.train(worker.prepare())


class _Worker:
    """One of the workers of a network.

    Args:
        told: What the driver says: ``objective``, ``job``, ``ear`` and ``folder``.
        replicas: Which of them this is.
    """

    def __init__(self, told: dict[str, Any], replicas: Replicas) -> None:
        self._told = told
        self._replicas = replicas
        self._job: Job = told["job"]

    def prepare(self) -> TrainingObjective:
        """Load what is trained with."""
        try:
            objective: TrainingObjective = cloudpickle.loads(self._told["objective"])
            objective.prepare()
        except Exception:
            self._tell(Broken(traceback.format_exc()))
            raise
        return objective

    def train(self, objective: TrainingObjective) -> None:
        """Train to the end; the first worker reports."""
        try:
            running = RunningJob(objective, self._job, self._told["folder"], self._replicas)
            if self._replicas.is_first:
                notice = running.notice
                self._tell(*([] if notice is None else [Notice(self._job.id, notice)]))
                self._tell(*running.history)
            while not running.done:
                trained = running.train()
                if self._replicas.is_first:
                    self._tell(trained)
            if self._replicas.is_first:
                self._tell(running.finish())
        except DiskFullError as error:
            self._tell(Broken(str(error), disk_full=True))
            raise
        except OSError:  # folder gone, device broken: every other network would meet it too
            self._tell(Broken(traceback.format_exc()))
            raise
        except Exception as error:
            if not _lost_company(error):
                self._tell(JobFailed(self._job.id, traceback.format_exc()))
            raise

    def _tell(self, *replies: Reply | Broken) -> None:
        ray.get(self._told["ear"].hear.remote(list(replies)))


def _lost_company(error: Exception) -> bool:
    """Return whether it is another worker's end that ended this one."""
    words = str(error).lower()
    signs = ("connection closed", "connection reset", "timed out", "nccl", "gloo")
    return isinstance(error, RuntimeError) and any(sign in words for sign in signs)
