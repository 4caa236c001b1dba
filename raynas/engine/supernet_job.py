"""One session of a supernet run as a Ray Train job, and the evaluators beside it.

Every session is a *fresh* Train run that begins at the newest checkpoint in the run folder, and so
does every start of the workers within it, when one of them died. Ray Train starts them, joins them
into a process group and starts them again; what it remembers of earlier sessions is not used.
"""

import logging
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import ray.train.torch
from ray import cloudpickle, train
from ray.train.v2.api.exceptions import TrainingFailedError

from raynas.engine.evaluators import EvaluatorPool, Images, start_host
from raynas.engine.storage import as_storage
from raynas.errors import DiskFullError, WorkerError
from raynas.runs.supernet_books import Keep, saved_steps
from raynas.runs.supernet_journal import Record
from raynas.runs.supernet_loop import Ending, Nobody, Place, run_program
from raynas.selection.program import SupernetProgram
from raynas.storage import Location, StorePath
from raynas.supernets.workers import Alone, Distributed, Workers

_FOLLOW_EVERY_S = 0.5
_PATIENCE_S = 24 * 3600
"""How long workers wait for one another: worker 0 may be scoring candidates for hours."""

_TRAIN_SETTINGS = {
    # A report is waited for until the controller looks: it should look often.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Settings of Ray Train that a user's environment may override."""

_LEFTOVERS = ("checkpoint_manager_snapshot.json", ".validate_storage_marker")
"""What Ray Train writes for a restore of its own."""


class Job(Protocol):
    """A run that workers can make the program of; pickled to every one."""

    def program(self, workers: Workers) -> SupernetProgram:
        """Make the program, as it begins."""
        ...

    def validation(self, device: str) -> Images:
        """Load the images that candidates are scored on."""
        ...


@dataclass(frozen=True, slots=True)
class SupernetOptions:
    """How a session runs.

    Attributes:
        folder: The run folder, where all workers can reach it.
        keep: Which checkpoints stay.
        workers: Training workers.
        cpus: CPU cores of each.
        gpus: GPUs of each.
        evaluators: Processes that score candidates; 0 if none are to be.
        evaluator_gpus: GPUs of each.
        max_worker_deaths: How often training workers are started again.
    """

    folder: Location
    keep: Keep
    workers: int
    cpus: float
    gpus: float
    evaluators: int
    evaluator_gpus: float
    max_worker_deaths: int = 3


def run_supernet(
    job: Job, options: SupernetOptions, *, notify: Callable[[], object] = lambda: None
) -> Ending | None:
    """Run a program on the connected Ray until it is finished or interrupted (Ctrl-C).

    Args:
        job: What to run; pickled to every worker.
        options: Where and how wide.
        notify: Called from another thread, every now and then.

    Returns:
        How it ended; None if it was interrupted.

    Raises:
        DiskFullError: there is no room for what they write.
        WorkerError: workers cannot work, or died too often with no step done in between.
    """
    pickled = cloudpickle.dumps(job)
    host = None
    if options.evaluators:
        host = start_host(pickled, options.evaluators, options.evaluator_gpus)
    config = {
        "job": pickled,
        "host": host,
        "options": options,
        "session": uuid.uuid4().hex,
    }
    try:
        with _train_settings(), _followed(notify):
            return _fit_while_it_goes_on(config, options)
    finally:
        if host is not None:
            ray.kill(host)
        for name in _LEFTOVERS:
            (options.folder / "checkpoints" / name).unlink(missing_ok=True)


def _fit_while_it_goes_on(config: dict[str, Any], options: SupernetOptions) -> Ending | None:
    """Start workers again after deaths too many for Ray Train, as long as steps are done between.

    Over a long run on machines that may go at any time, deaths add up; only those with nothing
    done in between say that workers cannot work.
    """
    while True:
        before = saved_steps(options.folder / "checkpoints")[-1:]
        try:
            return _fit(config, options)
        except WorkerError:
            if saved_steps(options.folder / "checkpoints")[-1:] == before:
                raise


def _fit(config: dict[str, Any], options: SupernetOptions) -> Ending | None:
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # errors reach us anyway
    for name in _LEFTOVERS:  # of a driver that was killed: Ray Train would restore from it
        (options.folder / "checkpoints" / name).unlink(missing_ok=True)
    bundle = {"CPU": options.cpus, "GPU": options.gpus}
    work: Any = _work  # annotated as if it returned nothing
    trainer = ray.train.torch.TorchTrainer(
        work,
        train_loop_config=config,
        torch_config=ray.train.torch.TorchConfig(timeout_s=_PATIENCE_S),
        scaling_config=train.ScalingConfig(
            num_workers=options.workers,
            use_gpu=options.gpus > 0,
            resources_per_worker={name: amount for name, amount in bundle.items() if amount},
        ),
        run_config=train.RunConfig(
            name="checkpoints",
            **as_storage(options.folder),
            failure_config=train.FailureConfig(max_failures=options.max_worker_deaths),
        ),
    )
    try:
        result: Any = trainer.fit()  # annotated as the result of the first version
    except (KeyboardInterrupt, SystemExit):  # Ray turns the first Ctrl-C into the second of these
        return None
    except TrainingFailedError as error:
        for cause in _causes(error):
            if isinstance(cause, DiskFullError):
                raise DiskFullError(str(cause)) from None
        raise WorkerError(_in_short(error)) from None
    ending = result.return_value
    assert isinstance(ending, Ending)
    return ending


def _work(config: dict[str, Any]) -> Ending:
    """Run the program on one worker."""
    options: SupernetOptions = config["options"]
    context = train.get_context()
    device = ray.train.torch.get_device() if options.gpus else "cpu"
    several = context.get_world_size() > 1
    workers: Workers = Distributed(device) if several else Alone()
    job: Job = cloudpickle.loads(config["job"])
    program = job.program(workers)
    scores = config["host"] is not None and context.get_world_rank() == 0
    scoring = EvaluatorPool(config["host"], program.training) if scores else Nobody()
    facts = {
        "evaluators": options.evaluators,
        "node": ray.util.get_node_ip_address(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    place = Place(options.folder.resolve(), options.keep, config["session"], facts)
    return run_program(program, workers, scoring, place, _report)


def _report(record: Record, checkpoint: Location | None) -> None:
    metrics = {key: record[key] for key in ("step", "phase", "event", "epoch")}
    train.report(
        metrics,
        checkpoint=None if checkpoint is None else _as_checkpoint(checkpoint),
        # It lies where it shall stay, whole, and synced to disk.
        checkpoint_upload_mode=train.CheckpointUploadMode.NO_UPLOAD,
    )


def _as_checkpoint(place: Location) -> train.Checkpoint:
    if isinstance(place, StorePath):
        return train.Checkpoint(place.key, place.filesystem)
    return train.Checkpoint(str(place))


def _in_short(error: TrainingFailedError) -> str:
    """Return what happened on the first worker that said something, as it said it."""
    failures = getattr(error, "worker_failures", {})
    for rank, cause in zip(sorted(failures), _causes(error), strict=True):
        text = "".join(traceback.format_exception(cause)).strip()
        return f"training workers failed, number {rank} with:\n{text}"
    return f"training workers failed: {error}"


def _causes(error: TrainingFailedError) -> list[BaseException]:
    """Return what the workers that failed raised, by rank."""
    failures = getattr(error, "worker_failures", {})
    return [getattr(failures[r], "cause", None) or failures[r] for r in sorted(failures)]


@contextmanager
def _train_settings() -> Iterator[None]:
    """Set what Ray Train reads from the environment; give back it and the handler of Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    missing = {name: value for name, value in _TRAIN_SETTINGS.items() if name not in os.environ}
    os.environ |= missing
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _followed(notify: Callable[[], object]) -> Iterator[None]:
    """Call `notify` every now and then, from a thread; an error in it comes out at the end."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def follow() -> None:
        while not stop.wait(_FOLLOW_EVERY_S):
            try:
                notify()
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
