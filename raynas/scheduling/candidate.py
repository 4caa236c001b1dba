"""A member of the pool: one architecture, how far it has been trained, and what came of it."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from raynas.scheduling.events import Metrics


class Status(StrEnum):
    """Where a candidate stands between jobs."""

    WAITING = "waiting"
    """Admitted, never trained."""
    RUNNING = "running"
    """A job is committed: it runs, or will be handed out again after an interruption."""
    PAUSED = "paused"
    """At rest on a level, promotable for ever."""
    DONE = "done"
    """Trained to the top level."""
    FAILED = "failed"
    """Its training raised or diverged; never promoted."""


@dataclass(slots=True)
class Candidate:
    """A member of the pool.

    Attributes:
        id: Order of admission, from 0.
        text: Canonical text of the architecture.
        key: Identity used to de-duplicate.
        round: Proposal round that brought it in, from 0.
        source: Name of the proposer.
        proxies: Zero-cost scores, higher is better.
        costs: What it costs to run, known before training, lower is better (``num_params``,
            ``flops``, ``latency_ms``); only what the search was asked to heed.
        level: Highest level reached, 0 before the first.
        epochs: Epochs trained.
        metrics: Metrics by epoch; ``accuracy`` (validation, a fraction) is always there.
        level_accuracy: Validation accuracy at each level reached, level 1 first.
        level_loss: Validation loss likewise (NaN where the objective reports none).
        time_s: Seconds of training so far.
        target: Epoch the committed job leads to, None between jobs.
        origin: Epoch the committed job set out from.
        running: Whether a worker has the job now (False: it is still to be handed out).
        error: Why training failed.
    """

    id: int
    text: str
    key: str
    round: int
    source: str
    proxies: Metrics = field(default_factory=dict)
    costs: Metrics = field(default_factory=dict)
    level: int = 0
    epochs: int = 0
    metrics: dict[int, Metrics] = field(default_factory=dict)
    level_accuracy: list[float] = field(default_factory=list)
    level_loss: list[float] = field(default_factory=list)
    time_s: float = 0.0
    target: int | None = None
    origin: int = 0
    running: bool = False
    error: str | None = None
    status: Status = Status.WAITING

    @property
    def accuracy(self) -> float:
        """Validation accuracy at the highest level reached (NaN at level 0)."""
        return self.level_accuracy[-1] if self.level_accuracy else math.nan

    def rank_key(self, level: int) -> tuple[float, float, int]:
        """Sort key among those that reached `level`, best first.

        Higher accuracy *at that level*, then lower validation loss, then the older candidate.
        """
        loss = self.level_loss[level - 1]
        return (-self.level_accuracy[level - 1], math.inf if math.isnan(loss) else loss, self.id)
