"""A Tune trial: one candidate, trained epoch by epoch, resumed from its own checkpoint.

The checkpoint is ours, not Tune's: one file per architecture in the run folder, written after every
report and kept when the trial is paused, the worker dies or the driver is killed. It also holds the
metrics of its epochs, so an epoch that was trained but never heard of is reported, not repeated.
What a job began with (the level before) stays beside it, in case the newest cannot be read.

An actor is reused for one candidate after another; nothing but the objective survives `_begin`.
"""

import time
import traceback
from typing import Any, TypedDict

from ray import cloudpickle, tune

from raynas.errors import CheckpointError, DiskFullError
from raynas.scheduling.events import Metrics
from raynas.scheduling.objective import Objective, Trial
from raynas.spaces.architecture import Architecture
from raynas.storage import Location, location
from raynas.training.checkpoint import earlier, keep_as_earlier, load_checkpoint, save_checkpoint

_NO_ACCURACY = {"accuracy": float("nan")}
"""Tune insists on the metric in every result."""


class TrialConfig(TypedDict):
    """What a Tune trial is told: which candidate it is, and how far the driver knows it to be."""

    candidate_id: int
    space: str
    text: str
    seed: int
    from_epoch: int
    report_epochs: list[int] | None


def checkpoint_path(folder: Location, candidate_id: int) -> Location:
    """Return where a candidate's checkpoint lies; named by id, never by user text."""
    return folder / f"{candidate_id:06d}.pt"


class CandidateTrainable(tune.Trainable):
    """Trains one candidate; each `step` is one report.

    A result holds ``epoch``, ``accuracy``, ``metrics`` and ``train_s``; or ``failed`` with the
    traceback, if training is at fault; ``broken``, if this worker is; or ``disk_full``.
    """

    def setup(self, config: dict[str, Any], *, objective: bytes = b"", folder: str = "") -> None:
        """Load the objective once per worker process."""
        self._folder = location(folder)
        self._broken: str | None = None
        try:
            self._objective: Objective = cloudpickle.loads(objective)
            self._objective.prepare()
        except Exception:
            self._broken = traceback.format_exc()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another candidate, or the same one at a later job."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._told: TrialConfig = config  # type: ignore[assignment]
        self._trial: Trial | None = None
        self._history: dict[int, tuple[Metrics, float]] = {}
        self._reported = self._told["from_epoch"]
        self._notice: str | None = None
        self._opened_from: Location | None = None

    def step(self) -> dict[str, Any]:
        """Train up to the next report."""
        if self._broken is not None:
            return {"broken": self._broken, **_NO_ACCURACY}
        epoch = self._next_epoch()
        try:
            if self._trial is None:
                self._trial = self._open()
            if epoch not in self._history:
                self._train(self._trial, epoch)
        except DiskFullError as error:
            return {"disk_full": str(error), **_NO_ACCURACY}
        except OSError:  # folder gone, device broken: every other architecture would meet it too
            return {"broken": traceback.format_exc(), **_NO_ACCURACY}
        except Exception:
            return {"failed": traceback.format_exc(), **_NO_ACCURACY}
        metrics, train_s = self._history[epoch]
        self._reported = epoch
        result = {"epoch": epoch, "accuracy": metrics["accuracy"], "metrics": metrics}
        result |= {"train_s": train_s, "training_iteration": epoch}
        if self._notice is not None:
            result["notice"], self._notice = self._notice, None
        return result

    def _next_epoch(self) -> int:
        later = self._told["report_epochs"]
        if later is None:
            return self._reported + 1
        return next(e for e in later if e > self._reported)

    def _open(self) -> Trial:
        """Start the candidate and restore its checkpoint, if there is one that can be read."""
        architecture = Architecture(self._told["space"], self._told["text"])
        trial = self._objective.start(architecture, self._told["seed"])
        newest = checkpoint_path(self._folder, self._told["candidate_id"])
        unreadable: list[str] = []
        for path in (newest, earlier(newest)):
            if not path.exists():
                if path == newest and self._told["from_epoch"]:
                    unreadable.append(f"{path}: is gone")
                continue
            try:
                saved = load_checkpoint(path)
                # A journal that lost its tail may have given the number to another one since.
                if saved.get("architecture", architecture.text) != architecture.text:
                    raise CheckpointError(f"{path.name} is of another architecture")
                trial.load(saved["state"])
                self._history = dict(saved["history"])
            except (CheckpointError, KeyError, TypeError) as error:
                unreadable.append(f"{path}: {error}")
                trial = self._objective.start(architecture, self._told["seed"])
                continue
            self._opened_from = path
            break
        if unreadable:
            self._notice = f"{'; '.join(unreadable)}; trained again from {self._restart()}"
        return trial

    def _restart(self) -> str:
        """Return where training goes on when the newest checkpoint cannot be read."""
        if self._opened_from is None:
            return "the start"
        return f"epoch {max(self._history)}, the checkpoint before"

    def _train(self, trial: Trial, epoch: int) -> None:
        started = time.perf_counter()
        metrics = {name: float(value) for name, value in trial.train(epoch).items()}
        train_s = metrics.pop("time_s", time.perf_counter() - started)
        self._history[epoch] = (metrics, train_s)
        path = checkpoint_path(self._folder, self._told["candidate_id"])
        if self._opened_from == path:
            keep_as_earlier(path)
        self._opened_from = None  # from now on the file is this job's own
        saved = {"architecture": self._told["text"], "history": self._history}
        save_checkpoint(path, {**saved, "state": trial.save()})

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, int]:
        """Satisfy Tune where it pauses by itself; our own checkpoint is written already."""
        return {"epoch": self._reported}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Do nothing: `_open` restores our own checkpoint."""
