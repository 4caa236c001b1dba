"""What is known of the jobs of a retraining: their epochs, their reports, means over seeds.

The accuracy after the last epoch comes first everywhere: the best over epochs is chosen by looking,
and says more than was achieved.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raynas.scheduling.events import Metrics
from raynas.seeds import derive_seed
from raynas.training.job import Finished, Job, JobFailed, Reply, Trained


def make_jobs(texts: Sequence[str], seeds: int, run_seed: int) -> list[Job]:
    """Return a job for each seed of each architecture; all architectures have the same seeds.

    The first seed of every architecture comes first, so that a retraining that is cut short says
    something of each.
    """
    pairs = [(number, text, r) for r in range(seeds) for number, text in enumerate(texts)]
    return [
        Job(i, number, text, r, derive_seed(run_seed, "retrain", r))
        for i, (number, text, r) in enumerate(pairs)
    ]


@dataclass(frozen=True, slots=True)
class Spread:
    """Values over seeds.

    Attributes:
        mean: NaN if there are none.
        std: Sample standard deviation; NaN of fewer than two.
        count: How many there are.
    """

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise values."""
        if not values:
            return cls(math.nan, math.nan, 0)
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), std, len(values))


@dataclass(slots=True)
class JobRecord:
    """What is known of one job.

    Attributes:
        job: Which.
        history: Metrics of each epoch done, by epoch.
        final: The report, once there is one.
        error: Why it failed, if it did.
    """

    job: Job
    history: dict[int, Metrics] = field(default_factory=dict)
    final: Finished | None = None
    error: str | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do."""
        return self.final is not None or self.error is not None

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return max(self.history, default=0)

    def last(self, metric: str) -> float | None:
        """Return a metric of the latest epoch."""
        return self.history[self.epochs].get(metric) if self.history else None

    @property
    def best_epoch(self) -> int | None:
        """The first epoch of the highest validation accuracy; None without validation."""
        known = {e: m["accuracy"] for e, m in sorted(self.history.items()) if "accuracy" in m}
        return max(known, key=lambda epoch: known[epoch]) if known else None

    @property
    def best_accuracy(self) -> float | None:
        """The highest validation accuracy of any epoch."""
        epoch = self.best_epoch
        return None if epoch is None else self.history[epoch]["accuracy"]


class Records:
    """What is known of all jobs.

    Args:
        jobs: All there are.

    Attributes:
        elapsed_s: Seconds the retraining has been going, over all its sessions.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._by_id = {job.id: JobRecord(job) for job in jobs}
        self.elapsed_s = 0.0

    def __iter__(self) -> Iterator[JobRecord]:
        return iter(self._by_id.values())

    def __getitem__(self, job_id: int) -> JobRecord:
        return self._by_id[job_id]

    def __len__(self) -> int:
        return len(self._by_id)

    def hear(self, reply: Reply) -> bool:
        """Take in what was heard; returns whether it was news."""
        record = self._by_id[reply.job]
        match reply:
            case Trained():
                news = record.history.get(reply.epoch) != reply.metrics
                record.history[reply.epoch] = reply.metrics
                return news
            case Finished():
                record.final = reply
            case JobFailed():
                record.error = reply.error
        return True

    @property
    def open(self) -> list[Job]:
        """Jobs that are neither finished nor failed."""
        return [record.job for record in self if not record.closed]

    @property
    def epochs(self) -> int:
        """Epochs done by all jobs."""
        return sum(record.epochs for record in self)

    @property
    def num_failed(self) -> int:
        """Jobs that failed."""
        return sum(record.error is not None for record in self)

    def of(self, architecture: int) -> list[JobRecord]:
        """Return the records of one architecture, by seed."""
        return [record for record in self if record.job.architecture == architecture]

    def finished(self, architecture: int) -> list[tuple[JobRecord, Finished]]:
        """Return those of one architecture that have a report, with it."""
        return [(r, r.final) for r in self.of(architecture) if r.final is not None]

    @property
    def num_architectures(self) -> int:
        """Number of architectures."""
        return 1 + max(record.job.architecture for record in self)


def choose(records: Records) -> tuple[JobRecord, str] | None:
    """Return the network to deliver, and by what it was chosen; the test part has no say.

    The architecture of the best mean validation accuracy after the last epoch, and of its seeds the
    best one. Where all the data was trained on there is nothing to choose by: the first
    architecture given, and its first seed.
    """
    ranked: list[tuple[float, int]] = []
    for number in range(records.num_architectures):
        done = records.finished(number)
        valid = [r.last("accuracy") for r, _ in done]
        known = [value for value in valid if value is not None]
        if done:
            ranked.append((float(np.mean(known)) if known else math.nan, number))
    if not ranked:
        return None
    if all(math.isnan(mean) for mean, _ in ranked):
        return records.finished(ranked[0][1])[0][0], "the order given (no validation part)"
    _, number = max(ranked, key=lambda pair: (pair[0], -pair[1]))
    record, _ = max(
        records.finished(number),
        key=lambda pair: (pair[0].last("accuracy"), -(pair[0].last("loss") or 0.0)),
    )
    return record, "mean validation accuracy after the last epoch, then that of the seed"


def summarise(records: Records, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each architecture, as JSON values: means and deviations over seeds."""
    rows = []
    for number, label in enumerate(labels):
        done = records.finished(number)
        last = Spread.of([final.accuracy for _, final in done])
        valid = [r.last("accuracy") for r, _ in done]
        last_valid = Spread.of([value for value in valid if value is not None])
        best = Spread.of([r.best_accuracy for r, _ in done if r.best_accuracy is not None])
        final = done[0][1] if done else None
        rows.append(
            {
                "label": label,
                "architecture": records.of(number)[0].job.text,
                "seeds": last.count,
                "part": final.part if final else None,
                "accuracy_mean": _known(last.mean),
                "accuracy_std": _known(last.std),
                "valid_accuracy_mean": _known(last_valid.mean),
                "valid_accuracy_std": _known(last_valid.std),
                "best_valid_accuracy_mean": _known(best.mean),
                "best_valid_accuracy_std": _known(best.std),
                "accuracies": [final.accuracy for _, final in done],
                "num_params": final.num_params if final else None,
                "flops": final.flops if final else None,
                "num_failed": sum(r.error is not None for r in records.of(number)),
            }
        )
    return rows


def _known(value: float) -> float | None:
    """Return a number, or None where there is none (JSON knows no NaN)."""
    return None if math.isnan(value) else value


def per_class_accuracy(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Return the share of each class that is classified right; None of a class without images."""
    return [row[c] / sum(row) if sum(row) else None for c, row in enumerate(confusion)]
