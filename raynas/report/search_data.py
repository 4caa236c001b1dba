"""A search as its report reads it: the journal, replayed into tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raynas.config import validate
from raynas.errors import RunFolderError
from raynas.runs.folder import RunFolder
from raynas.runs.journal import Entry, read_journal, recorded
from raynas.runs.views import architecture_row
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Proposed, Reported, Started
from raynas.scheduling.front import pool_front
from raynas.scheduling.pool import Pool
from raynas.search_config import SearchConfig

COST_NAMES = {"params": "num_params", "flops": "flops", "latency": "latency_ms"}
"""Column of each objective that is minimised."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Training of one architecture from one rest to the next.

    Attributes:
        id: Which architecture.
        start: Epochs the whole search had spent when it was sent to train.
        stop: Likewise, after its last epoch.
        level: Level that it has reached then.
        rested: Epochs that others trained while it was paused before; 0 for the first.
        joined: Newcomers that entered the pool while it was paused before.
    """

    id: int
    start: int
    stop: int
    level: int
    rested: int
    joined: int


@dataclass(frozen=True, slots=True)
class SearchRun:
    """Everything a report of a search is drawn from.

    Attributes:
        path: The run folder.
        config: What was asked.
        pool: What came of it.
        architectures: As in `architectures.parquet`.
        results: A row an epoch reported, in the order they were: id, epoch, level reached,
            accuracy, and the accuracy and level of whoever was best then.
        fits: As in `ranker.parquet`, and `spent`: epochs spent until then.
        stretches: Who trained when.
        reached: A row an epoch reported: how many had reached each level by then.
    """

    path: Path
    config: SearchConfig
    pool: Pool
    architectures: pd.DataFrame
    results: pd.DataFrame
    fits: pd.DataFrame
    stretches: tuple[Stretch, ...]
    reached: pd.DataFrame

    @property
    def costs(self) -> list[str]:
        """Columns that were minimised beside accuracy."""
        return [COST_NAMES[name] for name in self.config.objectives if name in COST_NAMES]

    @property
    def front(self) -> list[int]:
        """Ids on the front, most accurate first; empty where accuracy alone counted."""
        return [c.id for c in pool_front(self.pool, self.costs)] if self.costs else []

    @property
    def proxies(self) -> list[str]:
        """Names of the zero-cost proxies."""
        prefix = "proxy_"
        columns = map(str, self.architectures.columns)
        return [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]

    def row(self, candidate_id: int) -> Mapping[str, Any]:
        """Return the row of an architecture."""
        return architecture_row(self.pool, self.pool[candidate_id])


def read_search(folder: RunFolder) -> SearchRun:
    """Read a search.

    Raises:
        RunFolderError: nothing has been trained yet, or the journal cannot be read.
    """
    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config_name}: ")
    history = read_journal(folder.journal)[0] if folder.journal.exists() else []
    reader = _Reader(config)
    try:
        for entry in recorded(reader.pool, history, folder.journal):
            reader.hear(entry)
    except (ValueError, IndexError) as error:
        raise RunFolderError(f"{folder.journal}: not the journal of a search: {error}") from None
    if reader.pool.best() is None:
        raise RunFolderError(
            f"{folder}: no architecture has reached a level yet: nothing to report"
        )
    return SearchRun(
        folder.path,
        config,
        reader.pool,
        pd.DataFrame([architecture_row(reader.pool, one) for one in reader.pool]),
        pd.DataFrame(reader.results),
        pd.DataFrame(reader.fits),
        tuple(reader.stretches),
        pd.DataFrame(reader.reached, columns=list(range(1, reader.pool.num_levels + 1))),
    )


class _Reader:
    """Replays a journal and notes who trained when."""

    def __init__(self, config: SearchConfig) -> None:
        self.pool = Pool(config.levels)
        self.results: list[Mapping[str, Any]] = []
        self.fits: list[Mapping[str, Any]] = []
        self.stretches: list[Stretch] = []
        self.reached: list[list[int]] = []
        self._best: Candidate | None = None
        self._rests: dict[int, tuple[int, int]] = {}  # epochs spent, members, when it paused
        self._started: dict[int, tuple[int, int, int]] = {}  # likewise when sent; rest, newcomers

    def hear(self, entry: Entry) -> None:
        event, elapsed_s = entry
        self.pool.elapsed_s = elapsed_s
        spent = self.pool.spent_epochs
        if isinstance(event, Proposed):
            if event.fit is not None:
                self.fits.append({"round": event.round, "spent": spent, **event.fit})
            return
        if isinstance(event, Started):
            since, members = self._rests.pop(event.id, (spent, len(self.pool)))
            sent = (spent, spent - since, len(self.pool) - members)
            self._started.setdefault(event.id, sent)
        elif isinstance(event, Reported):
            self._report(event, spent)
        candidate = self.pool[event.id]
        if candidate.target is None and event.id in self._started:
            start, rested, joined = self._started.pop(event.id)
            stretch = Stretch(event.id, start, spent, candidate.level, rested, joined)
            self.stretches.append(stretch)
            self._rests[event.id] = (spent, len(self.pool))

    def _report(self, event: Reported, spent: int) -> None:
        candidate, best = self.pool[event.id], self._best
        level = candidate.level
        if level and (
            best is None
            or (-level, candidate.rank_key(level)) < (-best.level, best.rank_key(best.level))
        ):
            self._best = best = candidate
        self.results.append(
            {
                "id": event.id,
                "epoch": event.epoch,
                "spent": spent,
                "level": self.pool.level_of(event.epoch),
                "accuracy": event.metrics.get("accuracy", math.nan),
                "best_id": None if best is None else best.id,
                "best_accuracy": math.nan if best is None else best.accuracy,
                "best_level": 0 if best is None else best.level,
            }
        )
        self.reached.append(self.pool.population())
