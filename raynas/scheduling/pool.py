"""The pool: every architecture ever admitted, and all that is known of it. Nothing is deleted.

A pyramid of levels: level i is reached by training to ``epochs_per_level[i - 1]`` epochs; level 0
holds architectures of which only zero-cost proxies are known. A candidate at rest on a level stays
promotable for ever (RANK-NOSH, thesis ch. 4; `docs` call a level what ASHA calls a rung).

The pool only changes through :meth:`Pool.record`. It knows no policy, no engine and no file.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from raynas.scheduling import events
from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.events import Event, Newcomer
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot, ScoredRecord


class Pool:
    """Every architecture ever admitted, with the counts a policy needs in O(1).

    Args:
        epochs_per_level: Training length of each level, increasing, e.g. ``(1, 2, 4, 8)``.
    """

    def __init__(self, epochs_per_level: Sequence[int]) -> None:
        self.epochs_per_level = tuple(epochs_per_level)
        self.elapsed_s = 0.0
        """Seconds the run has been going, over all its sessions; the engine keeps it current."""
        self.exhausted = False
        """Whether the proposer has no architecture left to propose."""
        self.rounds = 0
        """Number of proposal rounds closed so far."""
        self.spent_epochs = 0
        self.committed_epochs = 0
        """Epochs that committed jobs still have to train."""
        self.time_s = 0.0
        """Seconds of training, summed over candidates."""
        self._candidates: list[Candidate] = []
        self._ids_by_key: dict[str, int] = {}
        self._scored: dict[str, Newcomer] = {}
        # Snapshots share the records of whoever has not changed since the last one.
        self._records: list[PoolRecord] = []
        self._changed: set[int] = set()
        self._scored_records: dict[str, ScoredRecord] = {}
        levels = len(self.epochs_per_level)
        self._reached: list[list[int]] = [[] for _ in range(levels + 1)]
        self._best: list[tuple[float, float, int] | None] = [None] * (levels + 1)
        self._failed_after = [0] * (levels + 1)
        self._round_starts: list[int] = []
        self._heading = [0] * (levels + 1)
        self._resting: list[list[tuple[float, float, int]]] = [[] for _ in range(levels + 1)]
        self._waiting: dict[int, None] = {}
        self._owed: dict[int, None] = {}
        self._running: dict[int, None] = {}
        self.num_failed = 0
        self.slowest_epoch_s = 0.0
        """Longest epoch any candidate has reported, in seconds."""

    # -- reading -------------------------------------------------------------------------------

    @property
    def num_levels(self) -> int:
        """Number of levels above level 0."""
        return len(self.epochs_per_level)

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def __getitem__(self, candidate_id: int) -> Candidate:
        return self._candidates[candidate_id]

    def __contains__(self, key: object) -> bool:
        return key in self._ids_by_key

    @property
    def scored(self) -> Mapping[str, Newcomer]:
        """Level 0: architectures known by their proxies alone, by key."""
        return MappingProxyType(self._scored)

    @property
    def waiting(self) -> list[Candidate]:
        """Admitted candidates without a job yet, oldest first."""
        return [self._candidates[i] for i in self._waiting]

    def first_waiting(self, count: int | None = None) -> Iterator[Candidate]:
        """Yield the first `count` (None: all) of `waiting` without listing the others."""
        return (self._candidates[i] for i in itertools.islice(self._waiting, count))

    @property
    def owed(self) -> list[Candidate]:
        """Candidates whose committed job no worker has, oldest commitment first."""
        return [self._candidates[i] for i in self._owed]

    @property
    def running(self) -> list[Candidate]:
        """Candidates whose job a worker has now."""
        return [self._candidates[i] for i in self._running]

    @property
    def num_waiting(self) -> int:
        """Number of admitted candidates without a job yet."""
        return len(self._waiting)

    @property
    def num_in_flight(self) -> int:
        """Number of candidates with a committed job, running or owed."""
        return len(self._running) + len(self._owed)

    @property
    def num_running(self) -> int:
        """Number of candidates a worker has now."""
        return len(self._running)

    def reached(self, level: int) -> int:
        """Number of candidates that ever reached `level` (failed later or not)."""
        return len(self._reached[level])

    def reached_ids(self, level: int) -> Sequence[int]:
        """Return the ids of those that ever reached `level` (not 0), in the order they did."""
        return self._reached[level]

    def failed_after(self, level: int) -> int:
        """Number of candidates that had reached `level` when they failed."""
        return self._failed_after[level]

    def population(self) -> list[int]:
        """Return how many candidates ever reached each level, lowest level first."""
        return [len(reached) for reached in self._reached[1:]]

    def heading(self, level: int) -> int:
        """Number of committed jobs that will lift a candidate from below `level` to it."""
        return self._heading[level]

    def num_resting(self, level: int) -> int:
        """Number of promotable candidates at rest exactly on `level`."""
        return len(self._resting[level])

    def best_resting(self, level: int, count: int) -> list[Candidate]:
        """Return the best `count` promotable candidates at rest on `level`, best first."""
        return [self._candidates[key[-1]] for key in self._resting[level][:count]]

    def resting(self, level: int) -> Iterator[Candidate]:
        """Yield the promotable candidates at rest on `level`, best first, without listing them."""
        return (self._candidates[key[-1]] for key in self._resting[level])

    def best(self) -> Candidate | None:
        """Return the answer: the most accurate candidate of the highest level anyone reached."""
        for level in range(self.num_levels, 0, -1):
            if (best := self._best[level]) is not None:
                return self._candidates[best[-1]]
        return None

    def round_of(self, candidate: Candidate) -> list[Candidate]:
        """Return the candidates that came in with `candidate`, oldest first."""
        ids = self.ids_of_round(candidate.round)
        return self._candidates[ids.start : ids.stop]

    def ids_of_round(self, number: int) -> range:
        """Return the ids of those that came in with round `number`."""
        starts = self._round_starts
        last = starts[number + 1] if number + 1 < len(starts) else len(self)
        return range(starts[number], last)

    def newest(self, count: int) -> list[Candidate]:
        """Return the `count` candidates that came in last, oldest first."""
        return self._candidates[len(self) - count :]

    def level_of(self, epochs: int) -> int:
        """Return the level that `epochs` of training reach."""
        return bisect.bisect_right(self.epochs_per_level, epochs)

    def snapshot(self) -> PoolSnapshot:
        """Return a frozen copy for a proposer."""
        for candidate_id in self._changed:
            self._records[candidate_id] = _record_of(self._candidates[candidate_id])
        self._changed.clear()
        return PoolSnapshot(
            round=self.rounds,
            epochs_per_level=self.epochs_per_level,
            candidates=tuple(self._records),
            scored=tuple(self._scored_records.values()),
        )

    # -- changing ------------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Apply one event: the only way the pool changes.

        Raises:
            ValueError: the event contradicts the pool (an engine or a policy is at fault).
        """
        match event:
            case events.Proposed():
                self._close_round(event)
            case events.Started():
                self._start(event)
            case events.Reported():
                self._report(event)
            case events.Interrupted():
                self._interrupt(event)
            case events.Failed():
                self._fail(event)

    def _close_round(self, event: events.Proposed) -> None:
        _require(event.round == self.rounds, f"round {event.round} is out of order")
        for newcomer in event.scored:
            self._scored.setdefault(newcomer.key, newcomer)
            self._scored_records.setdefault(
                newcomer.key,
                ScoredRecord(newcomer.text, newcomer.key, newcomer.proxies, newcomer.costs),
            )
        self._round_starts.append(len(self))
        for newcomer in event.admitted:
            self._admit(newcomer, event)
        self.rounds = event.round + 1
        self.exhausted = event.exhausted

    def _admit(self, newcomer: Newcomer, event: events.Proposed) -> None:
        _require(newcomer.key not in self._ids_by_key, f"{newcomer.text} is in the pool already")
        candidate = Candidate(
            id=len(self._candidates),
            text=newcomer.text,
            key=newcomer.key,
            round=event.round,
            source=event.source,
            proxies=dict(newcomer.proxies),
            costs=dict(newcomer.costs),
        )
        self._candidates.append(candidate)
        self._records.append(_record_of(candidate))
        self._ids_by_key[newcomer.key] = candidate.id
        self._scored.pop(newcomer.key, None)
        self._scored_records.pop(newcomer.key, None)
        self._waiting[candidate.id] = None

    def _start(self, event: events.Started) -> None:
        candidate = self._candidates[event.id]
        _require(not candidate.running, f"candidate {event.id} is running already")
        if candidate.target is not None:  # an owed job is handed out again
            _require(event.to_epoch == candidate.target, f"candidate {event.id} owes another job")
            self._owed.pop(event.id)
        else:
            self._commit(candidate, event.to_epoch)
        candidate.running = True
        self._running[event.id] = None

    def _commit(self, candidate: Candidate, to_epoch: int) -> None:
        _require(
            candidate.status in (Status.WAITING, Status.PAUSED),
            f"candidate {candidate.id} is {candidate.status}: it cannot start",
        )
        _require(
            candidate.epochs < to_epoch <= self.epochs_per_level[-1],
            f"candidate {candidate.id} cannot train from {candidate.epochs} to {to_epoch}",
        )
        if candidate.status is Status.WAITING:
            self._waiting.pop(candidate.id)
        else:
            self._unrest(candidate)
        candidate.status = Status.RUNNING
        candidate.target = to_epoch
        candidate.origin = candidate.epochs
        self.committed_epochs += to_epoch - candidate.epochs
        for level in range(candidate.level + 1, self.level_of(to_epoch) + 1):
            self._heading[level] += 1

    def _report(self, event: events.Reported) -> None:
        candidate = self._candidates[event.id]
        target = candidate.target
        _require(target is not None, f"candidate {event.id} reports without a job")
        assert target is not None
        _require(
            candidate.epochs < event.epoch <= target,
            f"candidate {event.id} reports epoch {event.epoch} after {candidate.epochs}",
        )
        accuracy = event.metrics.get("accuracy", math.nan)
        _require(math.isfinite(accuracy), f"candidate {event.id} reports no finite accuracy")
        added = event.epoch - candidate.epochs
        self.spent_epochs += added
        self.committed_epochs -= added
        self.time_s += event.time_s
        self.slowest_epoch_s = max(self.slowest_epoch_s, event.time_s / added)
        candidate.epochs = event.epoch
        candidate.time_s += event.time_s
        candidate.metrics[event.epoch] = dict(event.metrics)
        for level in range(candidate.level + 1, self.level_of(event.epoch) + 1):
            candidate.level = level
            candidate.level_accuracy.append(accuracy)
            candidate.level_loss.append(event.metrics.get("loss", math.nan))
            self._reached[level].append(candidate.id)
            self._heading[level] -= 1
            key = candidate.rank_key(level)
            best = self._best[level]
            self._best[level] = key if best is None else min(best, key)
            self._changed.add(candidate.id)
        if event.epoch == target:
            self._release(candidate)
            self._rest(candidate)

    def _interrupt(self, event: events.Interrupted) -> None:
        candidate = self._candidates[event.id]
        _require(candidate.target is not None, f"candidate {event.id} has no job")
        if event.owed:
            _require(candidate.running, f"candidate {event.id} is not running")
            candidate.running = False
            self._running.pop(event.id)
            self._owed[event.id] = None
        else:
            self._withdraw(candidate)
            self._rest(candidate)

    def _fail(self, event: events.Failed) -> None:
        candidate = self._candidates[event.id]
        _require(candidate.target is not None, f"candidate {event.id} fails without a job")
        self._withdraw(candidate)
        candidate.status = Status.FAILED
        candidate.error = event.error
        self.num_failed += 1
        for level in range(1, candidate.level + 1):
            self._failed_after[level] += 1
        self._changed.add(candidate.id)

    def _withdraw(self, candidate: Candidate) -> None:
        """Take back what an unfinished job had committed."""
        assert candidate.target is not None
        self.committed_epochs -= candidate.target - candidate.epochs
        for level in range(candidate.level + 1, self.level_of(candidate.target) + 1):
            self._heading[level] -= 1
        self._release(candidate)

    def _release(self, candidate: Candidate) -> None:
        candidate.target = None
        candidate.running = False
        self._running.pop(candidate.id, None)
        self._owed.pop(candidate.id, None)

    def _rest(self, candidate: Candidate) -> None:
        if candidate.epochs >= self.epochs_per_level[-1]:
            candidate.status = Status.DONE
        elif candidate.level:
            candidate.status = Status.PAUSED
            bisect.insort(self._resting[candidate.level], candidate.rank_key(candidate.level))
        else:
            candidate.status = Status.WAITING
            self._waiting[candidate.id] = None

    def _unrest(self, candidate: Candidate) -> None:
        resting = self._resting[candidate.level]
        index = bisect.bisect_left(resting, candidate.rank_key(candidate.level))
        assert resting[index][-1] == candidate.id
        del resting[index]


def _record_of(candidate: Candidate) -> PoolRecord:
    return PoolRecord(
        id=candidate.id,
        text=candidate.text,
        key=candidate.key,
        level=candidate.level,
        level_accuracy=tuple(candidate.level_accuracy),
        proxies=candidate.proxies,
        failed=candidate.status is Status.FAILED,
        costs=candidate.costs,
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
