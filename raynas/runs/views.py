"""The Parquet views of a run's journal, and `best.json`: what people and notebooks read.

Each is rewritten whole and swapped in, so a reader sees complete files at any time, also while the
search runs. They can be lost and made again; only the journal counts.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raynas.runs.folder import RunFolder, replace_file
from raynas.runs.tables import write_rows
from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.events import Event, Proposed, Reported
from raynas.scheduling.pool import Pool

_PAUSE_FACTOR = 10.0
"""A rewrite may take at most one part in about ten of the run's time."""

COUNTS = ("num_params", "flops")
"""Metrics that describe the network, not its training."""


class Views:
    """Keeps the views of one run current.

    Args:
        folder: Where they go.
        pool: What they show.
        describe: Facts about the best candidate that go into `best.json` beside its numbers.
    """

    def __init__(
        self,
        folder: RunFolder,
        pool: Pool,
        describe: Callable[[Candidate], Mapping[str, Any]],
    ) -> None:
        self._folder = folder
        self._pool = pool
        self._describe = describe
        self._results: list[dict[str, Any]] = []
        self._fits: list[dict[str, Any]] = []
        self._rows: dict[int, dict[str, Any]] = {}
        self._stale: set[int] = set()
        self._written_at = -math.inf
        self._cost_s = 0.0

    def hear(self, event: Event, elapsed_s: float) -> None:
        """Take in an event (after the pool has)."""
        if isinstance(event, Proposed):
            first = len(self._pool) - len(event.admitted)
            self._stale.update(range(first, len(self._pool)))
            if event.fit is not None:
                self._fits.append({"round": event.round, "elapsed_s": elapsed_s, **event.fit})
            return
        self._stale.add(event.id)
        if isinstance(event, Reported):
            self._results.append(self._result_row(event, elapsed_s))

    def replay(self, history: Iterable[tuple[Event, float]]) -> None:
        """Take in the journal of a pool that holds all of it already."""
        for event, elapsed_s in history:
            if isinstance(event, Reported):
                self._results.append(self._result_row(event, elapsed_s))
            elif isinstance(event, Proposed) and event.fit is not None:
                self._fits.append({"round": event.round, "elapsed_s": elapsed_s, **event.fit})
        self._stale.update(range(len(self._pool)))

    def _result_row(self, event: Reported, elapsed_s: float) -> dict[str, Any]:
        return {
            "id": event.id,
            "epoch": event.epoch,
            "level": self._pool.level_of(event.epoch),
            **{k: v for k, v in event.metrics.items() if k not in COUNTS},
            "time_s": event.time_s,
            "elapsed_s": elapsed_s,
        }

    def refresh(self, *, force: bool = False) -> None:
        """Rewrite the views, unless that would take too large a share of the run's time."""
        now = time.monotonic()
        if not force and now - self._written_at < _PAUSE_FACTOR * self._cost_s:
            return
        for candidate_id in self._stale:
            self._rows[candidate_id] = architecture_row(self._pool, self._pool[candidate_id])
        self._stale.clear()
        rows = [self._rows[i] for i in sorted(self._rows)]
        self._write("architectures.parquet", rows)
        self._write("results.parquet", self._results)
        self._write("ranker.parquet", self._fits)
        if self._pool.scored:
            self._write("level0.parquet", [_scored_row(s) for s in self._pool.scored.values()])
        best = self._pool.best()
        if best is not None:
            text = json.dumps(self._best(best), indent=2)
            replace_file(self._folder.path / "best.json", text.encode() + b"\n")
        self._written_at = time.monotonic()
        self._cost_s = self._written_at - now

    def _best(self, best: Candidate) -> dict[str, Any]:
        return {
            "architecture": best.text,
            "key": best.key,
            "accuracy": best.accuracy,
            "level": best.level,
            "epochs": best.epochs,
            "metrics": best.metrics[max(best.metrics)] if best.metrics else {},
            **({"costs": best.costs} if best.costs else {}),
            "budget_spent": {
                "epochs": self._pool.spent_epochs,
                "wall_s": round(self._pool.elapsed_s, 3),
                "training_s": round(self._pool.time_s, 3),
            },
            **self._describe(best),
        }

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        write_rows(self._folder.path / name, rows)


def architecture_row(pool: Pool, candidate: Candidate) -> dict[str, Any]:
    """Return a candidate's row of `architectures.parquet`."""
    row: dict[str, Any] = {
        "id": candidate.id,
        "architecture": candidate.text,
        "key": candidate.key,
        "round": candidate.round,
        "source": candidate.source,
        "status": _status(candidate),
        "level": candidate.level,
        "epochs": candidate.epochs,
        "accuracy": candidate.level_accuracy[-1] if candidate.level_accuracy else None,
    }
    for level in range(1, pool.num_levels + 1):
        known = level <= len(candidate.level_accuracy)
        row[f"accuracy_level_{level}"] = candidate.level_accuracy[level - 1] if known else None
        row[f"loss_level_{level}"] = candidate.level_loss[level - 1] if known else None
    latest = candidate.metrics[max(candidate.metrics)] if candidate.metrics else {}
    for name in COUNTS:
        count = candidate.costs.get(name, latest.get(name))
        row[name] = int(count) if count is not None else None
    row |= {name: cost for name, cost in candidate.costs.items() if name not in COUNTS}
    row |= {f"proxy_{name}": value for name, value in candidate.proxies.items()}
    row |= {"time_s": candidate.time_s, "error": candidate.error}
    return row


def _scored_row(scored: Any) -> dict[str, Any]:
    proxies = {f"proxy_{name}": value for name, value in scored.proxies.items()}
    return {"architecture": scored.text, "key": scored.key, **scored.costs, **proxies}


def _status(candidate: Candidate) -> str:
    """Return where it stands; what a stopped run still owes is paused as far as files go."""
    if candidate.status is Status.RUNNING and not candidate.running:
        return str(Status.PAUSED)
    return str(candidate.status)
