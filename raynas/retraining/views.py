"""The files of a retraining that people and notebooks read; made again from the journal.

::

    retrain.parquet     a row a job: its report, its validation, what it cost
    history.parquet     a row an epoch
    confusion.parquet   a row for each true and predicted class of each job
    summary.json        a row an architecture: mean and deviation over seeds
    best.json           the network to deliver; `raynas.load` gives it back
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from raynas.retraining.config import RetrainConfig
from raynas.retraining.records import JobRecord, Records, choose, per_class_accuracy, summarise
from raynas.runs.folder import RunFolder, replace_file
from raynas.runs.tables import write_rows
from raynas.training.recipe import TrainingConfig

_PAUSE_FACTOR = 10.0
"""A rewrite may take at most one part in about ten of the run's time."""


class RetrainViews:
    """Keeps the views of one retraining current.

    Args:
        folder: Where they go.
        config: What was asked.
        training: The recipe, for learning rates.
        records: What they show.
        facts: What the manifest says of the data.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RetrainConfig,
        training: TrainingConfig,
        records: Records,
        facts: Mapping[str, Any],
    ) -> None:
        self._folder = folder
        self._config = config
        self._training = training
        self._records = records
        self._facts = facts
        self._written_at = -math.inf
        self._cost_s = 0.0

    def refresh(self, *, force: bool = False) -> None:
        """Rewrite the views, unless that would take too large a share of the run's time."""
        now = time.monotonic()
        if not force and now - self._written_at < _PAUSE_FACTOR * self._cost_s:
            return
        path = self._folder.path
        write_rows(path / "retrain.parquet", [self._job_row(r) for r in self._records])
        write_rows(path / "history.parquet", self._history_rows())
        write_rows(path / "confusion.parquet", self._confusion_rows())
        self._write_json("summary.json", summarise(self._records, self.labels))
        chosen = choose(self._records)
        if chosen is not None:
            self._write_json("best.json", self._best(*chosen))
        self._written_at = time.monotonic()
        self._cost_s = self._written_at - now

    @property
    def labels(self) -> list[str]:
        """What the architectures are called."""
        return [one.label for one in self._config.architectures]

    def _job_row(self, record: JobRecord) -> dict[str, Any]:
        job, final = record.job, record.final
        status = "failed" if record.error else "finished" if final else "open"
        return {
            "job": job.id,
            "label": self.labels[job.architecture],
            "architecture": job.text,
            "repetition": job.repetition,
            "seed": job.seed,
            "status": status,
            "epochs": record.epochs,
            "accuracy": final.accuracy if final else None,
            "loss": final.loss if final else None,
            "part": final.part if final else None,
            "valid_accuracy": record.last("accuracy"),
            "best_valid_accuracy": record.best_accuracy,
            "best_epoch": record.best_epoch,
            "train_accuracy": record.last("train_accuracy"),
            "train_loss": record.last("train_loss"),
            "num_params": final.num_params if final else None,
            "flops": final.flops if final else None,
            "time_s": sum(metrics.get("time_s", 0.0) for metrics in record.history.values()),
            "error": record.error,
        }

    def _history_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "job": record.job.id,
                "label": self.labels[record.job.architecture],
                "repetition": record.job.repetition,
                "epoch": epoch,
                "lr": self._training.lr_at(epoch - 1),
                "drop_path": self._training.drop_path_at(epoch),
                "train_loss": metrics.get("train_loss"),
                "train_accuracy": metrics.get("train_accuracy"),
                "valid_loss": metrics.get("loss"),
                "valid_accuracy": metrics.get("accuracy"),
                "time_s": metrics.get("time_s"),
            }
            for record in self._records
            for epoch, metrics in sorted(record.history.items())
        ]

    def _confusion_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "job": record.job.id,
                "label": self.labels[record.job.architecture],
                "true_class": true,
                "predicted_class": predicted,
                "count": count,
            }
            for record in self._records
            if record.final is not None
            for true, row in enumerate(record.final.confusion)
            for predicted, count in enumerate(row)
        ]

    def _best(self, record: JobRecord, chosen_by: str) -> dict[str, Any]:
        job, final = record.job, record.final
        assert final is not None
        summary = summarise(self._records, self.labels)[job.architecture]
        return {
            "kind": "retrain",
            "architecture": job.text,
            "label": self.labels[job.architecture],
            "accuracy": final.accuracy,
            "accuracy_of": final.part,
            "chosen_by": chosen_by,
            "epochs": record.epochs,
            "metrics": {**record.history[record.epochs], "report_loss": final.loss},
            "best_valid_accuracy": record.best_accuracy,
            "best_epoch": record.best_epoch,
            "over_seeds": {k: v for k, v in summary.items() if k not in ("label", "architecture")},
            "per_class_accuracy": per_class_accuracy(final.confusion),
            "confusion": final.confusion,
            "num_params": final.num_params,
            "flops": final.flops,
            "budget_spent": {
                "epochs": self._records.epochs,
                "wall_s": round(self._records.elapsed_s, 3),
            },
            "space": self._config.delivered_space.model_dump(),
            "task": self._facts["task"],
            "seed": self._config.seed,
            "checkpoint": f"checkpoints/{job.id:06d}-final.pt",
            "rebuild": "raynas.load('best.json')",
        }

    def _write_json(self, name: str, value: Any) -> None:
        replace_file(self._folder.path / name, json.dumps(value, indent=2).encode() + b"\n")
